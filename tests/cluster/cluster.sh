#!/usr/bin/env bash
# A little cluster on one machine, for tests of what runs over several: node-1, node-2, ... with sshd, joined by a switch.
#
# A node is a set of the kernel's namespaces: it has an eth0 with an address, a hostname, a process table, mounts, /dev/shm
# and an sshd on port 22 of its own. Nodes share this machine's files, as a cluster shares a file system, and its cores.
# The switch has no uplink: nothing that a node sends leaves this machine, whose own network and ~/.ssh stay as they are.
#
#   cluster.sh setup N           start node-1 to node-N; what is there already is left as it is
#   cluster.sh run NODE CMD...   run a command on node-NODE in this working directory and environment; gives its exit code
#   cluster.sh cut NODE          pull its cable at the switch: nobody hears of it any more, its processes live on
#   cluster.sh join NODE         plug the cable in again
#   cluster.sh off NODE          end all that runs on it, sshd too; after `cut`, like a power cut. `setup N` starts it again
#   cluster.sh down              end everything on all nodes, and remove every trace
#   cluster.sh missing           print what this machine lacks for a cluster and for runs on it; fails where that is something
#
# What `run` can do, on node 2:
#   run 2 ssh node-1 hostname                nodes log in to each other as root, without a password or a question
#   run 2 mount --bind FOLDER PATH           another folder, or file, at that path on this node alone
#   run 2 ps -eo pid,args                    shows the processes of this node alone; end one by its number. A signal to `cluster.sh run` itself
#                                            does not reach the command: send it so
#   run 2 tc qdisc replace dev eth0 root tbf rate 10mbit burst 32kbit latency 400ms       a slow link
#   run 2 cat /sys/class/net/eth0/statistics/tx_bytes                                     what it has sent
#
# Needs Linux, root, iproute2, util-linux, openssh-server. Environment, the same for every call:
#   CLUSTER                  its name, so that several can stand side by side (default: little)
#   CLUSTER_DIR              folder for keys and logs, removed by `down` (default: /tmp/cluster-NAME)
#   CLUSTER_NET              first three numbers of the nodes' addresses (default: 10.83.0)
#   CLUSTER_OWN_LOOPBACK=1   /etc/hosts gives a node's own name 127.0.1.1 first, as Debian's and Ubuntu's installers write it
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
name=${CLUSTER:-little} net=${CLUSTER_NET:-10.83.0} dir=${CLUSTER_DIR:-/tmp/cluster-${CLUSTER:-little}}

fail() { echo "cluster.sh: $*" >&2 && exit 2; }

# This machine's number for the first process of node $1; fails where the node does not run. The kernel is asked too, since
# the number in the file may be another process's by now.
init_of() {
    local pid
    pid=$(cat "$dir/$1/pid" 2>/dev/null) && [ "$(ip netns identify "$pid" 2>/dev/null)" = "$name-$1" ] && echo "$pid"
}

missing() {
    local tool lacking=()
    [ "$(uname)" = Linux ] || lacking+=(Linux)
    [ "$(id -u)" = 0 ] || lacking+=('the rights of root')
    for tool in ip:iproute2 tc:iproute2 unshare:util-linux nsenter:util-linux sshd:openssh-server \
        ssh-keygen:openssh-client ssh:openssh-client pdsh:pdsh; do
        command -v "${tool%:*}" >/dev/null || lacking+=("${tool%:*} (package ${tool#*:})")
    done
    if [ ${#lacking[@]} = 0 ] && ! unshare --net --pid --fork --uts --ipc --mount true 2>/dev/null; then
        lacking+=('the right to make namespaces (CAP_SYS_ADMIN)')
    fi
    [ ${#lacking[@]} = 0 ] && return
    printf '%s\n' "${lacking[@]}" | paste -sd , | sed 's/,/, /g'
    return 1
}

setup() {
    local nodes node other tool
    for tool in ip unshare nsenter sshd ssh-keygen; do
        command -v $tool >/dev/null || fail "$tool is missing: install iproute2, util-linux and openssh-server"
    done
    mkdir -p "$dir" && chmod 700 "$dir"
    [ -f "$dir/key" ] || ssh-keygen -q -t ed25519 -N '' -f "$dir/key" # one key opens all nodes
    printf '%s\n' "AuthorizedKeysFile $dir/key.pub" 'StrictModes no' 'UsePAM no' 'PermitRootLogin prohibit-password' \
        'PasswordAuthentication no' 'PidFile none' >"$dir/sshd_config"
    printf '%s\n' 'Host *' "IdentityFile $dir/key" "UserKnownHostsFile $dir/known_hosts" >"$dir/ssh_config"
    if [ ! -e "/run/netns/$name-switch" ]; then
        ip netns add "$name-switch"
        ip -n "$name-switch" link add switch type bridge
        ip -n "$name-switch" link set switch up
    fi
    nodes=$(seq "$1")
    for node in $nodes; do
        mkdir -p "$dir/$node"
        [ -f "$dir/$node/host_key" ] || ssh-keygen -q -t ed25519 -N '' -f "$dir/$node/host_key"
        if [ ! -e "/run/netns/$name-$node" ]; then
            ip netns add "$name-$node"
            ip link add eth0 netns "$name-$node" type veth peer name "node-$node" netns "$name-switch" # the cable
            ip -n "$name-switch" link set "node-$node" master switch up
            ip -n "$name-$node" address add "$net.$node/24" dev eth0
            ip -n "$name-$node" link set eth0 up
            ip -n "$name-$node" link set lo up
        fi
        { # overwritten in place, so that running nodes see the new ones
            echo '127.0.0.1 localhost'
            [ -z "${CLUSTER_OWN_LOOPBACK-}" ] || echo "127.0.1.1 node-$node"
            for other in $nodes; do echo "$net.$other node-$other"; done
        } >"$dir/$node/hosts"
    done
    for node in $nodes; do echo "node-$node,$net.$node $(cat "$dir/$node/host_key.pub")"; done >"$dir/known_hosts"
    for node in $nodes; do [ -n "$(init_of "$node")" ] || start "$node"; done
}

# The first process of node $1: it sets up what is the node's own, and becomes sshd, which also reaps orphans.
start() {
    ip netns exec "$name-$1" unshare --fork --pid --uts --ipc --mount sh -euc '
        read -r pid _ </proc/self/stat # still the machine'\''s /proc, so its number there
        mount -t proc proc /proc
        mount -t tmpfs tmpfs /dev/shm
        mount -t tmpfs tmpfs /run # sshd needs a folder there
        mkdir /run/sshd
        hostname "node-$1"
        mount --bind "$2/$1/hosts" /etc/hosts
        mount --bind "$2/ssh_config" /etc/ssh/ssh_config
        echo "$pid" >"$2/$1/pid"
        exec "$(command -v sshd)" -D -e -f "$2/sshd_config" -h "$2/$1/host_key"' node "$1" "$dir" \
        >"$dir/$1/log" 2>&1 </dev/null &
    disown
    for _ in $(seq 100); do
        ip netns exec "$name-$1" bash -c "exec 3<>/dev/tcp/$net.$1/22" 2>/dev/null && return
        sleep 0.1
    done
    fail "sshd of node-$1 does not answer: $(tail -n 3 "$dir/$1/log")"
}

case "$#:${1-}" in
    2:setup | 2:cut | 2:join | 2:off | 1:down | 1:missing | [3-9]:run | [1-9][0-9]*:run) ;;
    *) sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac
if [ "$1" = missing ]; then
    missing
    exit
fi
[ "$(id -u)" = 0 ] || fail "namespaces need root"
case $1 in
    setup) setup "$2" ;;
    run)
        pid=$(init_of "$2") || fail "node-$2 does not run: cluster.sh setup N"
        exec nsenter --target "$pid" --all sh -c 'cd -- "$0" && exec "$@"' "$PWD" "${@:3}" ;;
    cut) ip -n "$name-switch" link set "node-$2" down ;;
    join) ip -n "$name-switch" link set "node-$2" up ;;
    off) pid=$(init_of "$2") || exit 0; kill -9 "$pid" ;;
    down)
        for place in $(ip netns list | awk -v name="$name" '$1 ~ "^" name "-([0-9]+|switch)$" { print $1 }'); do
            pid=$(init_of "${place#"$name-"}") && kill -9 "$pid" && sleep 0.2 # its parent reaps it
            ip netns pids "$place" | xargs -r kill -9 2>/dev/null || true # what is left there, and nothing else
            ip netns delete "$place"
        done
        rm -rf -- "$dir" ;;
esac
