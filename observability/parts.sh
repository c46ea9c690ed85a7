# shellcheck shell=bash
# What start-containers and start-local share: looking at ports and waiting for answers, with nothing but bash.
# Needs scripts/prepare.sh.

# check_port NUMBER NAME: whether it is a port at all.
check_port() {
    if ! [[ $1 =~ ^[1-9][0-9]{0,4}$ ]] || [ "$1" -gt 65535 ]; then die "$2: '$1' is not a port"; fi
}

# is_taken PORT: whether somebody listens there on loopback.
is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# need_free PORT NAME VARIABLE
need_free() {
    ! is_taken "$1" || die "port $1, which $2 is to listen on, is taken; choose another with $3"
}

# answers PORT PATH: whether 200 comes back from there within two seconds.
answers() {
    # shellcheck disable=SC2016
    timeout 2 bash -c '
        exec 3<>"/dev/tcp/127.0.0.1/$1"
        printf "GET %s HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n" "$2" >&3
        read -r _ status _ <&3 && [ "$status" = 200 ]
    ' - "$1" "$2" 2>/dev/null
}

# wait_for NAME PORT PATH COMMAND…: until it answers. Gives up when COMMAND, which tells whether it still runs, fails, or
# after READY_SECONDS.
wait_for() {
    local name=$1 port=$2 path=$3 end=$((SECONDS + ${READY_SECONDS:-60}))
    shift 3
    until answers "$port" "$path"; do
        "$@" || return 1
        if [ "$SECONDS" -ge "$end" ]; then
            say "$name has not answered on port $port within ${READY_SECONDS:-60} s"
            return 1
        fi
        sleep 0.2
    done
}
