"""Studies on a Slurm cluster, through submitit: jobs, their resources, the queue, and the command on a node."""
