"""`python -m simulator.load`: see the package. Exit code 2: the settings were wrong, or no station became ready."""

import resource
import sys

import uvloop

from . import drive, read_config, write_result


def main() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard), hard))
    try:
        config = read_config(sys.stdin.buffer.read())
        result = uvloop.run(drive(config))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.buffer.write(write_result(result) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
