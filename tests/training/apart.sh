#!/bin/sh
# Two network namespaces with a cable between them, and in each one process of a group, as on two machines:
#     unshare --user --map-root-user --net --mount sh apart.sh PYTHON SCRIPT [ARGUMENT ...]
# Nothing of it outlives this shell. Exit status 77: it cannot be made here.
set -eu
python=$1
shift

make() {
    mount -t tmpfs tmpfs /run && mkdir /run/netns &&
        ip netns add one && ip netns add two &&
        ip link add cable netns one type veth peer name cable netns two &&
        ip -n one address add 10.77.0.1/24 dev cable && ip -n two address add 10.77.0.2/24 dev cable &&
        ip -n one link set lo up && ip -n one link set cable up &&
        ip -n two link set lo up && ip -n two link set cable up
}

run() {
    end=$1 rank=$2
    shift 2
    GLOO_SOCKET_IFNAME=cable ip netns exec "$end" "$python" -m torch.distributed.run --nnodes 2 --nproc-per-node 1 \
        --node-rank "$rank" --master-addr 10.77.0.1 --master-port 29577 "$@"
}

make || exit 77
run two 1 "$@" &
run one 0 "$@"
wait $!
