import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import type { FirewallPart } from '../../../../attest-server/wire/firewall.ts';
import { failing, judged, referenceOf } from './made-firewall.ts';
import { programs } from './owner-programs.ts';
import { ownerRules } from './owner-rules.ts';
import { openRuledNode, type RuledNode } from './wired-node.ts';

const { fail2ban, netavark, cni, docker } = programs;

/** What honest programs do on a node, from its baseline on: each step by the real program. */
interface Churn {
  readonly what: string;
  readonly needs: string;
  readonly before?: string;
  readonly steps: readonly string[];
  readonly end?: string;
}
const churn: readonly Churn[] = [
  ...(['iptables-multiport', 'iptables-allports', 'nftables-multiport', 'nftables-allports'] as const).map(
    (action): Churn => ({
      what: `fail2ban bans an address for the first time, and more, by ${action}`,
      needs: fail2ban.needs,
      before: fail2ban.start(action),
      steps: [fail2ban.ban('192.0.2.7'), fail2ban.ban('192.0.2.8', '2001:db8::7')],
      end: fail2ban.end,
    }),
  ),
  ...(['iptables', 'nftables'] as const).map(
    (firewall): Churn => ({
      what: `netavark starts the first container with ports, and one more, by ${firewall}`,
      needs: netavark.needs,
      steps: [netavark.container(firewall, 1), netavark.container(firewall, 2)],
    }),
  ),
  {
    what: 'portmap opens the first port of a pod, and one more, beside the bridge and firewall plugins',
    needs: cni.needs,
    steps: [cni.pod(1), cni.pod(2)],
  },
  {
    what: 'Docker makes networks and publishes ports',
    needs: docker.needs,
    before: docker.start,
    steps: [
      `${docker.docker} network create one >/dev/null; ${docker.docker} network create --internal two >/dev/null
       ${docker.docker} network create --ipv6 --subnet fd00:9::/64 three >/dev/null`,
      `${docker.docker} run -d --name aa -p 8080:80 -p 127.0.0.1:8443:443/udp image /bin/sleep 100 >/dev/null
       ${docker.docker} run -d --name bb -p 8081:80 --network three image /bin/sleep 100 >/dev/null`,
      `${docker.docker} rm -f aa bb >/dev/null; ${docker.docker} network rm one >/dev/null`,
    ],
    end: docker.end,
  },
];

const startRules = `sysctl -qw net.ipv4.ip_forward=1
for tables in iptables ip6tables; do $tables-nft-restore <<'RULES'
*filter
:INPUT DROP [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
-A PREROUTING -p udp --dport 1 -j RETURN
COMMIT
RULES
done`;

describe('programs that write rules anew all the time', function () {
  this.timeout(120_000);

  let node: RuledNode;
  let work = '';
  let end: string | null = null;
  beforeEach(async () => {
    work = await mkdtemp(join(tmpdir(), 'assay-owners-'));
    node = await openRuledNode();
    await node.sh(startRules);
    end = null;
  });
  afterEach(async () => {
    if (end !== null) await run(end);
    await node[Symbol.asyncDispose]();
    await rm(work, { recursive: true });
  });

  const run = (script: string) =>
    node.sh(`export WORK=${work}; unshare -m bash -eu <<'SCRIPT'\n${script}\nSCRIPT`);

  for (const { what, needs, before: first, steps, end: last } of churn)
    it(`are no alarm: ${what} (row 336)`, async function () {
      if (!isInstalled(needs)) this.skip();
      end = last ?? null;
      if (first !== undefined) await run(first);
      const reference = referenceOf(await node.read());
      for (const step of steps) {
        await run(step);
        const part = await node.read();
        const verdict = judged(part, [reference]);
        assert.equal(verdict.state, 'trusted', shownIn(verdict));
      }
      // And another node, whose baseline was captured while they were at work, is like one where they are not.
      const busy = referenceOf(await node.read());
      if (last !== undefined) await run(last);
      end = null;
      const verdict = judged(await node.read(), [busy]);
      assert.equal(verdict.state, 'trusted', shownIn(verdict));
    });

  it('write and take away rule by rule, and no moment between is an alarm: netavark (row 345)', async function () {
    if (!isInstalled(netavark.needs)) this.skip();
    const recorded = await run(`mkdir $WORK/bin; for program in iptables ip6tables; do
      cat > $WORK/bin/$program <<'EOF'
#!/bin/bash
echo "\${0##*/}-nft \${*@Q}" >> $WORK/log
exec /usr/sbin/\${0##*/}-nft "$@"
EOF
      chmod +x $WORK/bin/$program; done; export PATH=$WORK/bin:$PATH
      ${netavark.container('iptables', 1)}
      ${netavark.container('iptables', 1, 'teardown')}
      cat $WORK/log`);
    const commands = recorded.split('\n').filter((line) => / '-[AIDNX]' /.test(line));
    assert(commands.length > 40, recorded);
    await using other = await openRuledNode();
    await other.sh(
      `for tables in iptables ip6tables; do $tables-nft -P INPUT DROP; $tables-nft -t nat -A PREROUTING -p udp -j RETURN; done`,
    );
    const reference = referenceOf(await other.read());
    for (const command of commands) {
      await other.sh(command);
      assert.deepEqual(failing(judged(await other.read(), [reference])), [], command);
    }
  });

  it('take no node its trust by a ban a minute: the verdict stays the same (row 336)', async function () {
    if (!isInstalled(fail2ban.needs)) this.skip();
    end = fail2ban.end;
    await run(fail2ban.start('iptables-multiport'));
    await run(fail2ban.ban('192.0.2.1'));
    const reference = referenceOf(await node.read());
    const first = judged(await node.read(), [reference]);
    for (const last of [2, 3]) {
      await run(fail2ban.ban(`192.0.2.${last}`));
      assert.deepEqual(judged(await node.read(), [reference]), first);
    }
  });
});

describe('rules of programs that write them anew all the time', function () {
  this.timeout(60_000);

  let node: RuledNode;
  before(async () => {
    node = await openRuledNode();
  });
  afterEach(() => node.reset());
  after(() => node[Symbol.asyncDispose]());

  /** What is read once these rules are there. The same script makes the same ones: each is read once. */
  const readAfter = async (load: string): Promise<FirewallPart> => {
    const known = parts.get(load);
    if (known !== undefined) return known;
    await node.sh(`${startRules}\n${load}`);
    const part = await node.read();
    parts.set(load, part);
    await node.reset();
    return part;
  };
  const parts = new Map<string, FirewallPart>();

  for (const { name, load, add } of ownerRules)
    it(`are no alarm: ${name}, by rules that are recorded (row 336)`, async () => {
      const before = await readAfter(load);
      await node.sh([startRules, load, add].join('\n'));
      const part = await node.read();
      assert.notDeepEqual(part, before);
      const verdict = judged(part, [referenceOf(before)]);
      assert.equal(verdict.state, 'trusted', shownIn(verdict));
    });

  for (const { name, load, add, strays } of ownerRules)
    for (const stray of strays)
      it(`leave what none of them writes to be compared: ${name}, ${stray.slice(0, 60)} (row 335)`, async () => {
        const reference = referenceOf(await readAfter(load));
        await node.sh([startRules, load, add, stray].join('\n'));
        const codes = failing(judged(await node.read(), [reference]));
        assert(codes.includes('fw_drift'), codes.join());
      });

  it('are fifteen kinds, and none of them is an alarm', () => {
    assert(churn.length + ownerRules.length >= 15);
  });
});

function shownIn({ reasons }: ReturnType<typeof judged>): string {
  return reasons.flatMap(({ code, detail }) => [code, ...(detail ?? [])]).join('\n');
}

function isInstalled(program: string): boolean {
  if (program.startsWith('/')) return existsSync(program);
  return (process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(join(folder, program)));
}
