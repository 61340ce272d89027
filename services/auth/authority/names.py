"""The names that a station's request asks for beside its subject: an authority outside may take them over."""

from typing import Final

from cryptography import x509

from ocppcore.topics import normalise
from services.auth.authority.port import AuthorityFailed, Wanted

HOSTS: Final = (x509.DNSName, x509.IPAddress)


def check_names(wanted: Wanted, *, hosts_only: bool = False) -> None:
    """A request may ask for its own name alone; `hosts_only`: for others too, but for none of a host.

    With the name of a host a station would pass as the CSMS, or as whoever is known by it (A00.FR.511). Raises
    AuthorityFailed.
    """
    try:
        asked = wanted.request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    except (ValueError, x509.DuplicateExtension) as error:
        raise AuthorityFailed(f"the request's extensions cannot be read: {error}", again=False) from None
    own = normalise(wanted.common_name)
    others = [one for one in asked if not isinstance(one, x509.DNSName) or normalise(one.value) != own]
    if any(isinstance(one, HOSTS) for one in others):
        raise AuthorityFailed("the request asks for other names than the station's: names of hosts", again=False)
    if others and not hosts_only:
        raise AuthorityFailed("the request asks for other names than the station's", again=False)
