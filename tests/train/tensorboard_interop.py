"""Prints as JSON what TensorBoard's own reader finds in a folder of event files.

Usage: tensorboard_interop.py FOLDER
"""
import json
import math
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2


def number(value):
    return str(value) if math.isnan(value) or math.isinf(value) else value


def main(folder):
    events = EventAccumulator(folder, size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()
    out = {"scalars": {t: [[e.step, number(e.value)] for e in events.Scalars(t)] for t in tags["scalars"]},
           "texts": {t: events.Tensors(t)[0].tensor_proto.string_val[0].decode() for t in tags["tensors"]}}

    def plugin(tag):
        data = plugin_data_pb2.HParamsPluginData()
        data.ParseFromString(events.SummaryMetadata(tag).plugin_data.content)
        return data
    if "_hparams_/experiment" in events.summary_metadata:
        experiment = plugin("_hparams_/experiment").experiment
        out["hparam_types"] = {h.name: api_pb2.DataType.Name(h.type) for h in experiment.hparam_infos}
        out["hparam_metrics"] = [m.name.tag for m in experiment.metric_infos]
        start = plugin("_hparams_/session_start_info").session_start_info
        out["hparams"] = {k: getattr(v, v.WhichOneof("kind")) for k, v in start.hparams.items()}
        out["status"] = api_pb2.Status.Name(plugin("_hparams_/session_end_info").session_end_info.status)
    print(json.dumps(out))


if __name__ == "__main__":
    main(sys.argv[1])
