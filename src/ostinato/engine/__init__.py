"""Runs a model folder without torch."""

from ostinato.engine.bidirectional import BidirectionalEngine as BidirectionalEngine
from ostinato.engine.compiled import make_engine as make_engine
from ostinato.engine.engine import Engine as Engine
from ostinato.engine.states import load_noted_state as load_noted_state
from ostinato.engine.states import load_state as load_state
from ostinato.engine.states import save_state as save_state
