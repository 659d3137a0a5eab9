import assert from 'node:assert/strict';
import { afterEach, before, beforeEach, describe, it } from 'mocha';
import { readRules } from '../../../../agent/netfilter/read-rules.ts';
import { type FirewallPart, parseFirewallPart } from '../../../../attest-server/wire/firewall.ts';
import { limits } from '../../../../attest-server/wire/limits.ts';
import { type Namespace, openNamespace } from '../../../agent/netfilter/namespace.ts';
import { failing, judged, referenceOf } from './made-firewall.ts';

/** From the kernel through the agent's reader to the judge. */
describe('rules that iptables-save shows in part', function () {
  this.timeout(60_000);

  let space: Namespace;
  before(function () {
    // Who is not root opens no namespace by its file.
    if (process.getuid?.() !== 0) this.skip();
  });
  beforeEach(async () => {
    space = await openNamespace();
    await space.sh('iptables-nft -P INPUT DROP');
  });
  afterEach(async () => {
    await space[Symbol.asyncDispose]();
  });

  async function read(): Promise<FirewallPart> {
    return parseFirewallPart((await readRules({ netns: space.netns })).bytes);
  }
  const rulesIn = ({ nft }: FirewallPart) => (nft ?? []).filter((member) => 'rule' in member).length;
  const noSsh = ['forbid: [input tcp 22 from 0.0.0.0/0]'];

  it('are compared as nft shows them: another port in an anonymous set is a difference (row 61)', async () => {
    await space.sh(`nft 'add rule ip filter INPUT tcp dport { 80, 443 } accept'`);
    const before = await read();
    assert.deepEqual(failing(judged(before, [referenceOf(before)], noSsh)), []);
    await space.sh(
      `nft flush chain ip filter INPUT; nft 'add rule ip filter INPUT tcp dport { 22, 80 } accept'`,
    );
    const now = await read();
    const verdict = judged(now, [referenceOf(before)], noSsh);
    assert.deepEqual(failing(verdict), ['fw_drift', 'fw_policy_open', 'fw_policy_open']);
    const shown = verdict.reasons.find(({ code }) => code === 'fw_drift')?.detail ?? [];
    assert.equal(shown.filter((line) => line.includes('22')).length, 1);
  });

  for (const [what, first, then] of [
    ['the set that a rule asks', 'ip saddr @good accept', 'ip saddr @bad accept'],
    [
      'a second question about one port',
      'tcp dport 21-22 tcp dport 23 accept',
      'tcp dport 1-65535 tcp dport 23 accept',
    ],
    ['a greater address', 'ip saddr > 10.0.0.1 accept', 'ip saddr 10.0.0.1 accept'],
    ['a verdict map', 'tcp dport vmap { 23 : drop }', 'tcp dport vmap { 22 : accept }'],
    ['the window of TCP', 'tcp window 3 accept', 'tcp window 4 accept'],
  ] as const)
    it(`are compared as nft shows them: ${what} (row 61)`, async () => {
      const load = async (rule: string) => {
        await space.sh(`nft flush chain ip filter INPUT; nft 'add rule ip filter INPUT ${rule}'`);
        return read();
      };
      await space.sh(`for s in good bad; do nft "add set ip filter $s { type ipv4_addr; }"; done`);
      const before = await load(first);
      const now = await load(then);
      assert(failing(judged(now, [referenceOf(before)])).includes('fw_drift'));
      assert.deepEqual(failing(judged(before, [referenceOf(before)])), []);
    });

  it('beside an extension keep what each of both programs says', async () => {
    const load = async (state: string, ports: string) => {
      await space.sh(`iptables-nft -F INPUT; iptables-nft -A INPUT -m conntrack --ctstate ${state} -j ACCEPT
        nft 'add rule ip filter INPUT tcp dport { ${ports} } accept'`);
      return read();
    };
    const before = await load('ESTABLISHED', '80, 443');
    assert.deepEqual(failing(judged(await load('NEW', '80, 443'), [referenceOf(before)])), [
      'fw_drift',
      'fw_policy_open',
    ]);
    assert(failing(judged(await load('ESTABLISHED', '22, 80'), [referenceOf(before)])).includes('fw_drift'));
  });

  it('are nobody of those that iptables writes, which are sent once', async () => {
    await space.sh(`iptables-nft -N SITE
      iptables-nft -A INPUT -s 10.0.0.0/8 ! -i eth+ -p tcp --syn -m comment --comment "-d --dport 1" -j SITE
      iptables-nft -A INPUT -p icmp --icmp-type 8 -m limit --limit 5/min -j LOG --log-prefix "x "
      iptables-nft -A INPUT -p udp --dport 1000:2000 -d 10.0.0.0/255.0.255.0 -j NFLOG
      iptables-nft -A INPUT -m mark --mark 1/15 -m conntrack --ctstate NEW -f -g SITE
      iptables-nft -A INPUT -p tcp -m multiport --dports 80,443 -j REJECT --reject-with tcp-reset
      iptables-nft -t nat -A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.0.0.1:80
      ip6tables-nft -A INPUT -s fe80::/10 -p tcp --sport 1: -m hl --hl-eq 255 -j ACCEPT
      ip6tables-nft -A INPUT -p icmpv6 --icmpv6-type 128 -j RETURN`);
    const part = await read();
    assert.equal(rulesIn(part), 0);
    assert.deepEqual(failing(judged(part, [referenceOf(part)])), []);
  });

  it('may be 10,000 of iptables in what one node sends', async () => {
    const rules = (port: number) => `iptables-nft-restore <<< "$(echo '*filter'; echo ':INPUT DROP [0:0]'
      for ((i = 0; i < 10000; i++)); do
        echo "-A INPUT -s 10.$((i >> 16)).$((i >> 8 & 255)).$((i & 255))/32 -p tcp -m tcp --dport $((${port} + i)) -m comment --comment \\"host $i of the site\\" -j ACCEPT"
      done; echo COMMIT)"`;
    await space.sh(rules(1024));
    const before = await read();
    assert.equal(before.iptables.ip?.match(/^-A INPUT/gm)?.length, 10_000);
    assert.equal(rulesIn(before), 0);
    assert(JSON.stringify(before).length < limits.parts.firewall);
    await space.sh('iptables-nft -R INPUT 5000 -p tcp --dport 22 -j ACCEPT');
    const now = await read();
    assert.deepEqual(failing(judged(now, [referenceOf(before)], noSsh)), [
      'fw_drift',
      'fw_policy_open',
      'fw_policy_open',
    ]);
  });
});
