"""The main job from end to end: the one place that joins text, data, training and the model folder."""

from ostinato.pipeline.run import train as train
