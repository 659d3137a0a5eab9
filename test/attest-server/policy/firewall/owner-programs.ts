/**
 * Shell scripts that run real programs, each as root in a network namespace of its own. What they need beside it is
 * below `$WORK`, an empty folder. Each prints nothing of worth: the rules are read from outside.
 */

/** A jail that finds one address; it bans it when it is told to. */
const fail2ban = (action: string) => `
  mkdir -p $WORK/f2b/filter.d
  ln -sfn /etc/fail2ban/action.d $WORK/f2b/action.d
  cat > $WORK/f2b/fail2ban.conf <<EOF
[Definition]
loglevel = INFO
logtarget = $WORK/f2b/log
socket = $WORK/f2b/sock
pidfile = $WORK/f2b/pid
dbfile = None
EOF
  cat > $WORK/f2b/filter.d/none.conf <<EOF
[Definition]
failregex = ^never <HOST>$
EOF
  touch $WORK/f2b/watched
  cat > $WORK/f2b/jail.conf <<EOF
[sshd]
enabled = true
filter = none
backend = polling
logpath = $WORK/f2b/watched
banaction = ${action}
action = %(banaction)s[name=sshd, port=ssh, protocol=tcp]
EOF
  fail2ban-client -c $WORK/f2b -s $WORK/f2b/sock -p $WORK/f2b/pid --pname fail2ban start >/dev/null 2>&1 </dev/null`;
const ban = (...addresses: readonly string[]) => `
  fail2ban-client -c $WORK/f2b -s $WORK/f2b/sock set sshd banip ${addresses.join(' ')} >/dev/null
  for address in ${addresses.join(' ')}; do until nft list ruleset | grep -qF $address; do sleep 0.05; done; done`;
const endFail2ban =
  '! [ -f $WORK/f2b/pid ] || { pid=$(cat $WORK/f2b/pid); kill $pid; while [ -d /proc/$pid ]; do sleep 0.05; done; }';

/** One container of Podman with two published ports comes, or goes in the same script. @param number of it */
const netavark = (
  firewall: 'iptables' | 'nftables',
  number: number,
  does: 'setup' | 'teardown' = 'setup',
) => `
  mkdir -p $WORK/na /run/netns; findmnt /run/netns >/dev/null || mount -t tmpfs none /run/netns
  [ -e /run/netns/c${number} ] || ip netns add c${number}
  cat > $WORK/na/c${number}.json <<EOF
{"container_id":"${'0123456789abcdef'.repeat(3)}${String(number).padStart(16, '0')}","container_name":"c${number}",
 "port_mappings":[{"host_ip":"","container_port":80,"host_port":${8080 + number},"range":1,"protocol":"tcp"},
  {"host_ip":"10.1.2.3","container_port":53,"host_port":${8153 + 2 * number},"range":2,"protocol":"udp"}],
 "networks":{"podman":{"static_ips":["10.88.0.${number + 1}","fd00:88::${number + 1}"],"interface_name":"eth0"}},
 "network_info":{"podman":{"name":"podman","id":"2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9",
  "driver":"bridge","network_interface":"podman0","subnets":[{"gateway":"10.88.0.1","subnet":"10.88.0.0/16"},
  {"gateway":"fd00:88::1","subnet":"fd00:88::/64"}],"ipv6_enabled":true,"internal":false,"dns_enabled":false,
  "ipam_options":{"driver":"host-local"}}}}
EOF
  NETAVARK_FW=${firewall} /usr/lib/podman/netavark --config $WORK/na/conf ${does} /run/netns/c${number} < $WORK/na/c${number}.json >/dev/null`;

/** One pod with a port of the host, by the bridge, portmap and firewall plugins of CNI. */
const cni = (number: number) => `
  mkdir -p $WORK/cni /run/netns; findmnt /run/netns >/dev/null || mount -t tmpfs none /run/netns
  ip netns add p${number}
  export CNI_COMMAND=ADD CNI_CONTAINERID=${'fedcba9876543210'.repeat(3)}${String(number).padStart(16, '0')}
  export CNI_NETNS=/run/netns/p${number} CNI_IFNAME=eth0 CNI_PATH=/usr/lib/cni
  echo '{"cniVersion":"1.0.0","name":"pods","type":"bridge","bridge":"cni9","isGateway":true,"ipMasq":true,
   "ipam":{"type":"host-local","dataDir":"'$WORK'/cni/ipam","ranges":[[{"subnet":"10.89.0.0/16"}],[{"subnet":"fd00:89::/64"}]]}}' |
   /usr/lib/cni/bridge > $WORK/cni/result
  plugin() { echo '{"cniVersion":"1.0.0","name":"pods","type":"'$1'",'$2'"prevResult":'"$(cat $WORK/cni/result)"'}' | /usr/lib/cni/$1 >/dev/null; }
  plugin portmap '"capabilities":{"portMappings":true},"runtimeConfig":{"portMappings":[{"hostPort":${9080 + number},"containerPort":80,"protocol":"tcp"}]},'
  plugin firewall '"backend":"iptables",'`;

const docker = `docker -H unix://$WORK/docker/sock`;
const dockerd = `
  mkdir -p $WORK/docker/root/bin
  mount -t tmpfs none /run; mount -t cgroup2 none /sys/fs/cgroup 2>/dev/null || true
  dockerd --data-root $WORK/docker/data --exec-root $WORK/docker/exec -H unix://$WORK/docker/sock \\
    --pidfile $WORK/docker/pid --bip 172.17.0.1/16 > $WORK/docker/log 2>&1 < /dev/null &
  for i in $(seq 100); do ${docker} info >/dev/null 2>&1 && break; sleep 0.2; done
  for file in /bin/sleep $(ldd /bin/sleep | grep -o '/[^ ]*'); do
    mkdir -p $WORK/docker/root$(dirname $file); cp -L $file $WORK/docker/root$file; done
  tar -C $WORK/docker/root -c . | ${docker} import - image >/dev/null`;
const endDockerd =
  '! [ -f $WORK/docker/pid ] || { pid=$(cat $WORK/docker/pid); kill $pid; while [ -d /proc/$pid ]; do sleep 0.1; done; }';

export const programs = {
  fail2ban: { needs: 'fail2ban-server', start: fail2ban, ban, end: endFail2ban },
  netavark: { needs: '/usr/lib/podman/netavark', container: netavark },
  cni: { needs: '/usr/lib/cni/portmap', pod: cni },
  docker: { needs: 'dockerd', start: dockerd, docker, end: endDockerd },
} as const;
