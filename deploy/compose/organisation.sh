# shellcheck shell=bash
# What one organisation does, beside others on one machine (network) or on a machine of its own (node). Sourced by both, which say
# where its services' ports are (ports_of), where the others' peer services are (peers_of) and which files make up its node (files).
# All its files are in $dir/ORGANISATION; the chain spec, which all share, is $dir/chain.toml.
dir=$(realpath -m "${NETWORK_DIR:-$here/data}")
name=${NETWORK_NAME:-pentad}
pentad=${PENTAD:-pentad}
roles=(wallet chain miner consensus peer worker)
# A node's, and the one that a consensus service without a key is.
services=(chain wallet miner consensus follower peer worker)
# The containers of a new network on a busy machine need some 20 s.
healthy_seconds_max=120
# Services look at their files every five seconds (server.reload_ms).
taken_seconds_max=60
# Whatever else the caller has chosen.
unset PENTAD_CONTEXT PENTAD_DIR PENTAD_GRPC PENTAD_NODE PENTAD_COOKIE PENTAD_TOKEN_FILE
unset PENTAD_TLS_AUTHORITY PENTAD_TLS_CERTIFICATE PENTAD_TLS_KEY
export PENTAD_CONTEXTS=$dir/contexts.toml
if command -v docker-compose > /dev/null; then docker_compose=(docker-compose); else docker_compose=(docker compose); fi

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# Prints the lines at the head of a script that say how it is used.
usage() {
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
    exit 2
}

# The containers' user must own their files: whoever calls this, or, for root, nobody's number 65532.
node_user() {
    if [ "$(id -u)" = 0 ]; then echo 65532:65532; else echo "$(id -u):$(id -g)"; fi
}

# own PATH...: gives files to that user.
own() {
    if [ "$(id -u)" = 0 ]; then chown -R "$(node_user)" "$@"; fi
}

# make_validator DIRECTORY ORGANISATION: a key, and a wallet for its blocks' fees; prints NAME:KEY:ADDRESS, for the chain spec.
make_validator() {
    "$pentad" --output json validator "$2" --data "$1/wallet" --key "$1/validator/key" |
        sed -n 's/.*"validator": *"\([^"]*\)".*/\1/p'
}

# make_folders DIRECTORY: what is not there Docker would make, for root alone.
make_folders() {
    local folder
    for folder in "$1"/{chain,wallet,miner,worker,consensus,peer,validator,prometheus}; do
        (umask 077 && mkdir -p "$folder")
        # What an operator has put back is root's as well, if root did it.
        own "$folder"
    done
}

# make_certificates DIRECTORY ORGANISATION: an authority, and a certificate for each service and for the operator.
make_certificates() {
    local role
    "$pentad" certs init --dir "$1/authority" --organisation "$2" > /dev/null
    for role in "${roles[@]}"; do
        "$pentad" certs issue --dir "$1/authority" --role "$role" --name "$role" \
            --host "$role" "$role.$2" > /dev/null
    done
    "$pentad" certs issue --dir "$1/authority" --role operator --name operator > /dev/null
    hand_out_authority "$1"
    hand_out_pairs "$1"
}

# hand_out_authority DIRECTORY: gives each service the authorities that it believes.
hand_out_authority() {
    local role
    for role in "${roles[@]}"; do
        (umask 077 && mkdir -p "$1/tls/$role")
        put "$1/authority/authority.pem" "$1/tls/$role/authority.pem"
    done
}

# hand_out_pairs DIRECTORY: gives each service its own certificate and key, and not those of others or of the authority.
hand_out_pairs() {
    local role
    for role in "${roles[@]}"; do
        put "$1/authority/$role.pem" "$1/tls/$role/certificate.pem"
        put "$1/authority/$role.key" "$1/tls/$role/key.pem"
    done
}

# put FROM TO: at once, as services look at their files at any time.
put() {
    cp -p "$1" "$2.new"
    own "$2.new"
    mv "$2.new" "$2"
}

# hand_over ORGANISATION WHAT: hands out "authority" or "pairs", and waits until every service that runs uses it.
hand_over() {
    local since
    since=$(date --utc +%FT%T.%NZ)
    "hand_out_$2" "$dir/$1"
    wait_for_services "$1" "$taken_seconds_max" "does not take its new certificates" has_read_anew "$since"
}

# has_read_anew SINCE CONTAINER
has_read_anew() { [[ $(docker logs --since "$1" "$2" 2>&1) == *"read anew"* ]]; }

# The last one's file shows whether the authority has been handed out to all.
has_authority() { cmp -s "$dir/$1/authority/authority.pem" "$dir/$1/tls/${roles[-1]}/authority.pem"; }

# Replacing an authority has three steps, each of which ends when all services have taken it: they believe the new authority too,
# they show certificates of the new one, they believe it alone.
renew_authority() {
    "$pentad" certs renew --dir "$dir/$1/authority" --authority > /dev/null
    hand_over "$1" authority
    echo "$1 has a new authority beside the old one"
}

renew_certificates() {
    # None of an authority that another service does not believe yet.
    has_authority "$1" || hand_over "$1" authority
    "$pentad" certs renew --dir "$dir/$1/authority" > /dev/null
    hand_over "$1" pairs
    echo "$1 has new certificates"
}

retire_authority() {
    local role
    for role in "${roles[@]}"; do
        cmp -s "$dir/$1/authority/$role.pem" "$dir/$1/tls/$role/certificate.pem" ||
            die "$role of $1 has a certificate of before: renew comes first"
    done
    "$pentad" certs retire --dir "$dir/$1/authority" > /dev/null
    has_authority "$1" || hand_over "$1" authority
    echo "$1 has one authority"
}

engine() { sed -n 's/^\[engine\.\([a-z]*\)\]$/\1/p' "$dir/chain.toml"; }

# compose ORGANISATION ARGUMENT...
compose() {
    local org=$1 engine profile mines=false
    local profiles=()
    shift
    engine=$(engine)
    if [ "$engine" != pbft ]; then mines=true; fi
    # Without its key a validator's node follows the others, as every node does under proof of work.
    if [ ! -e "$dir/$org/validator/key" ]; then engine=pow; fi
    for profile in "$engine" ${NETWORK_PROFILES:-}; do profiles+=(--profile "$profile"); done
    TAG=${TAG:-latest} NODE_NAME=$org NODE_DIR=$dir/$org CHAIN_SPEC=$dir/chain.toml NODE_USER=$(node_user) \
        NODE_PORTS=$(ports_of "$org") NODE_MINES=$mines BOOTSTRAP=$(bootstrap "$org") \
        "${docker_compose[@]}" --project-name "$name-$org" "${files[@]/#/--file=$here/}" "${profiles[@]}" "$@"
}

# The others' peer services as a list in TOML.
bootstrap() {
    local peer list=
    while read -r peer; do list+="${list:+,}\"$peer\""; done < <(peers_of "$1")
    echo "[$list]"
}

# running ORGANISATION SERVICE: its containers that run.
running() {
    docker ps --quiet --filter "label=com.docker.compose.project=$name-$1" --filter "label=com.docker.compose.service=$2"
}

# wait_for_services ORGANISATION SECONDS COMPLAINT COMMAND...: waits until COMMAND succeeds for each of its containers that run.
wait_for_services() {
    local org=$1 seconds_max=$2 complaint=$3 service container deadline=$((SECONDS + $2))
    shift 3
    for service in "${services[@]}"; do
        for container in $(running "$org" "$service"); do
            until "$@" "$container"; do
                if ((SECONDS >= deadline)); then
                    docker logs --tail 20 "$container" >&2
                    die "$service of $org $complaint within $seconds_max s"
                fi
                sleep 0.2
            done
        done
    done
}

wait_healthy() { wait_for_services "$1" "$healthy_seconds_max" "does not serve" is_healthy; }

is_healthy() { docker exec "$1" /service --health > /dev/null 2>&1; }

start_containers() {
    make_folders "$dir/$1"
    own "$dir/chain.toml"
    compose "$1" up --detach 2> "$dir/$1/compose.log" || die "containers do not start: see $dir/$1/compose.log"
}

stop_containers() {
    compose "$1" down --remove-orphans 2> "$dir/$1/compose.log" || die "containers do not stop: see $dir/$1/compose.log"
}

replace_containers() {
    compose "$1" up --detach --force-recreate
    wait_healthy "$1"
    # With its peers' blocks it votes again: only then may the next one go.
    "$pentad" --context "$1" sync > /dev/null
    echo "$1 runs new containers"
}

# Waits until an organisation's node serves, and tells the command line where it is.
introduce() {
    local org=$1 prefix
    wait_healthy "$org"
    prefix=127.0.0.1:$(ports_of "$org")
    "$pentad" context set "$org" --chain "$dir/chain.toml" --tls-authority "$dir/$org/authority/authority.pem" \
        --tls-certificate "$dir/$org/authority/operator.pem" --tls-key "$dir/$org/authority/operator.key" \
        --grpc "wallet=${prefix}1,chain=${prefix}2,miner=${prefix}3,consensus=${prefix}4,peer=${prefix}5" > /dev/null
}
