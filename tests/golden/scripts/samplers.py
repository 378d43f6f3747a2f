"""What torch.utils.data's samplers promise, as numbers: shares of DistributedSampler, sizes of the others.

Writes tests/golden/data/samplers.csv. torch 2.13.0; deterministic (no shuffling).
"""
import pathlib

from torch.utils.data import BatchSampler, DistributedSampler, RandomSampler, SequentialSampler

lines = ["kind,size,a,b,drop_last,length,indices"]
for size in (0, 1, 5, 8, 11):
    for replicas in (1, 2, 3, 4, 13):
        for rank in sorted({0, replicas // 2, replicas - 1}):
            for drop_last in (0, 1):
                if size == 0 or (drop_last and size < replicas):
                    continue
                s = DistributedSampler(range(size), replicas, rank, shuffle=False, drop_last=bool(drop_last))
                lines.append(f"distributed,{size},{replicas},{rank},{drop_last},{len(s)},{' '.join(map(str, s))}")
    for batch_size in (1, 3, 4, 20):
        for drop_last in (0, 1):
            s = BatchSampler(SequentialSampler(range(size)), batch_size, bool(drop_last))
            text = " | ".join(" ".join(map(str, b)) for b in s)
            lines.append(f"batch,{size},{batch_size},0,{drop_last},{len(s)},{text}")
for size, draws in ((5, 5), (5, 3), (5, 12)):
    s = RandomSampler(range(size), num_samples=draws)
    lines.append(f"random,{size},{draws},0,0,{len(s)},")
path = pathlib.Path(__file__).parent.parent / "data" / "samplers.csv"
path.write_text("\n".join(lines) + "\n")
