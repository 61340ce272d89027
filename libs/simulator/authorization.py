"""What a station knows of idTokens by itself: the Local Authorization List (block D) and the cache
(C10-C12)."""

from .frames import Json, milliseconds
from .inputs import IdToken

CACHE_MAX = 200


def _key(id_token: Json) -> str:
    return IdToken(id_token["idToken"], id_token["type"]).key


class KnownTokens:
    """IdTokenInfo by idToken, from the list and from answers."""

    __slots__ = ("_cache", "_list", "version")

    def __init__(self) -> None:
        self._list: dict[str, Json] = {}
        self._cache: dict[str, Json] = {}
        self.version = 0

    def __len__(self) -> int:
        """Entries of the Local Authorization List."""
        return len(self._list)

    def entries(self) -> dict[str, Json]:
        """The Local Authorization List: type/idToken, folded -> IdTokenInfo."""
        return dict(self._list)

    def learn(self, token: IdToken, info: Json) -> None:
        """The CSMS said this of an idToken (C10.FR.04)."""
        self._cache.pop(token.key, None)
        self._cache[token.key] = info
        while len(self._cache) > CACHE_MAX:
            del self._cache[next(iter(self._cache))]

    def forget(self, token: IdToken) -> None:
        """A customer's data are to be removed (N10)."""
        self._cache.pop(token.key, None)
        self._list.pop(token.key, None)

    def clear_cache(self) -> None:
        self._cache.clear()

    def lookup(self, token: IdToken, now_ms: int, *, use_list: bool, use_cache: bool) -> Json | None:
        """The IdTokenInfo known here, the list first; None if there is none or it has expired."""
        info = self._list.get(token.key) if use_list else None
        if info is None and use_cache:
            info = self._cache.get(token.key)
        if info is None:
            return None
        expires = info.get("cacheExpiryDateTime")
        return None if expires is not None and milliseconds(expires) <= now_ms else info

    def update_list(self, request: Json, entries_max: int | None = None) -> str:
        """Carries out a SendLocalListRequest, all of it or nothing; returns the status (D01). `entries_max`: how many
        the list may have (LocalAuthListEntries)."""
        entries: list[Json] = request.get("localAuthorizationList", [])
        version = request["versionNumber"]
        if version <= 0:
            return "Failed"
        full = request["updateType"] == "Full"
        if full and any("idTokenInfo" not in entry for entry in entries):
            return "Failed"
        if not full and version <= self.version:
            return "VersionMismatch"  # D01.FR.19
        keys = [_key(entry["idToken"]) for entry in entries]
        if len(set(keys)) < len(keys):
            return "Failed"  # D01.FR.06
        updated = {} if full else dict(self._list)
        for key, entry in zip(keys, entries, strict=True):
            if "idTokenInfo" in entry:
                updated[key] = entry["idTokenInfo"]
            else:
                updated.pop(key, None)
        if entries_max is not None and len(updated) > entries_max:
            return "Failed"
        self._list, self.version = updated, version
        return "Accepted"


def group_of(info: Json) -> str | None:
    """The group of an idToken, folded for comparison."""
    group = info.get("groupIdToken")
    return _key(group) if group else None


def allows(info: Json, evse_id: int) -> bool:
    """May the idToken charge at this EVSE?"""
    return bool(info["status"] == "Accepted" and evse_id in info.get("evseId", [evse_id]))
