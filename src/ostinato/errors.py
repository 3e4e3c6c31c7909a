"""The errors Ostinato states: one line each, saying what came, what was expected and what to do."""


class OstinatoError(Exception):
    """A stated failure. The command line prints its message on one line and exits with status 1."""


class ConfigError(OstinatoError, ValueError):
    """A setting is out of range, unknown, or contradicts another."""


class TextError(OstinatoError):
    """A text cannot be read: missing, empty, not UTF-8, too short."""


class ImageError(OstinatoError):
    """An image cannot be read: missing, damaged, too large, of an unknown format."""


class LatticeError(OstinatoError):
    """A lattice cannot be read, written or searched: damaged, cyclic, in parts, of an unknown format."""


class SoundError(OstinatoError):
    """A sound cannot be read: missing, cut, of an unknown format, without a sample."""


class MusicError(OstinatoError):
    """Music cannot be read: missing, damaged, empty, outside of the piano's range."""


class BundleError(OstinatoError):
    """A model folder (or a file that goes with it) is missing, damaged, foreign, or does not fit."""


class TrainingError(OstinatoError):
    """Training cannot go on: it diverged, or there is nothing that fits to resume."""


class NativeError(OstinatoError, ValueError):
    """The native core is not there, or was given an array that it does not take."""
