import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { failing, judged, referenceOf } from './made-firewall.ts';
import { openWiredNode, type WiredNode } from './wired-node.ts';

/** What a node leaves out, or a server does not compare, is no way in: by packets of a neighbour, not by rules alone. */
describe('what is not compared', function () {
  this.timeout(60_000);

  let node: WiredNode;
  beforeEach(async () => {
    node = await openWiredNode([22, 2222]);
  });
  afterEach(async () => {
    await node[Symbol.asyncDispose]();
  });

  /** Codes that fail, beside what the rules were before. */
  async function codesAfter(script: string, lines: readonly string[] = []): Promise<readonly string[]> {
    const reference = referenceOf(await node.read());
    await node.sh(script);
    return failing(judged(await node.read(), [reference], lines));
  }

  const pod = 'CNI-0123456789abcdef01234567';
  for (const chain of ['PREROUTING', 'OUTPUT', 'INPUT'])
    it(`does not have a rule of ${chain} that leads into the chain of a pod (row 332)`, async () => {
      await node.sh(`iptables-nft -t nat -N ${pod}; iptables-nft -t nat -A PREROUTING -p udp -j RETURN`);
      assert.equal(await node.isReached(6443), false);
      const codes = await codesAfter(`
        iptables-nft -t nat -A ${pod} -p tcp -j ${chain === 'INPUT' ? 'SNAT --to-source 10.77.0.9' : 'REDIRECT --to-ports 2222'}
        iptables-nft -t nat -A ${chain} -p tcp --dport 6443 -m comment --comment 'name: "podman" id: "1"' -j ${pod}`);
      assert(codes.includes('fw_drift'), codes.join());
      assert.equal(await node.isReached(6443), chain === 'PREROUTING');
    });

  it('is what the bridge plugin of CNI writes for a pod, and nothing else that ends like it (row 332)', async () => {
    await node.sh(`iptables-nft -t nat -N ${pod}; iptables-nft -t nat -A POSTROUTING -p udp -j RETURN`);
    const rule = (source: string, comment: string) =>
      `iptables-nft -t nat -A POSTROUTING ${source} ${comment} -j ${pod}`;
    const written = `-m comment --comment 'name: "podman" id: "0123456789abcdef"'`;
    assert.deepEqual(await codesAfter(rule('-s 10.88.0.7/32', written)), []);
    for (const other of [
      rule('-s 10.88.0.0/16', written),
      rule('', written),
      rule('-s 10.88.0.7/32', ''),
      rule('-s 10.88.0.7/32', '-m comment --comment "of a pod"'),
      rule('-s 10.88.0.7/32 -p tcp', written),
    ])
      assert.deepEqual(await codesAfter(other), ['fw_drift'], other);
  });

  it('is no address that a list of people lets in for a day, again and again (row 333)', async () => {
    await node.sh(`nft -f - <<< 'table inet site {
      set friends { type ipv4_addr; flags timeout; timeout 23h; }
      chain input { type filter hook input priority 0; policy drop; ip saddr @friends tcp dport 22 accept; }
    }'`);
    assert.equal(await node.isReached(22), false);
    const codes = await codesAfter('nft add element inet site friends { 10.77.0.2 }');
    assert.deepEqual(codes, ['fw_drift']);
    assert.equal(await node.isReached(22), true);
  });

  it('is what traffic adds to a set that a rule fills', async () => {
    await node.sh(`nft -f - <<< 'table inet site {
      set seen { type ipv4_addr; flags timeout; }
      chain input { type filter hook input priority 0; tcp dport 22 update @seen { ip saddr timeout 1h }; }
    }'`);
    const reference = referenceOf(await node.read());
    assert.equal(await node.isReached(22), true);
    assert.match(await node.sh('nft list set inet site seen'), /10\.77\.0\.2/);
    assert.deepEqual(failing(judged(await node.read(), [reference])), []);
  });

  it('is no new connection whose address was translated: forbid tells of it (row 334)', async () => {
    await node.sh(`iptables-nft -P INPUT DROP
      iptables-nft -A INPUT -m conntrack --ctstate DNAT -j ACCEPT
      iptables-nft -t nat -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 22`);
    assert.equal(await node.isReached(80), true);
    const part = await node.read();
    const verdict = judged(part, [referenceOf(part)], ['forbid: [input tcp 22 from 0.0.0.0/0]']);
    assert.deepEqual(failing(verdict), ['fw_policy_open']);
  });

  it('is no match within a tunnel, which forbid takes for one that may hold (row 334)', async () => {
    await node.sh(`nft -f - <<< 'table ip site {
      chain input {
        type filter hook input priority 0; policy drop;
        udp dport 4789 vxlan tcp dport 22 accept
        udp dport 6081 geneve ip saddr 10.0.0.1 accept
        gre ip saddr 10.0.0.1 accept
      }
    }'`);
    const part = await node.read();
    for (const [opening, way] of [
      ['input udp 4789 from 0.0.0.0/0', 'udp dport 4789 vxlan tcp dport 22 accept'],
      ['input udp 6081 from 1.2.3.4', 'udp dport 6081 geneve ip saddr 10.0.0.1 accept'],
      ['input icmp from 1.2.3.4', 'gre ip saddr 10.0.0.1 accept'],
    ] as const) {
      const verdict = judged(part, [referenceOf(part)], [`forbid: ["${opening}"]`]);
      assert.deepEqual(failing(verdict), ['fw_policy_open'], opening);
      const shown = verdict.reasons.flatMap(({ detail }) => detail ?? []);
      assert(
        shown.some((line) => line.includes(way)),
        shown.join('\n'),
      );
    }
    const none = judged(part, [referenceOf(part)], ['forbid: [input tcp 22 from 0.0.0.0/0]']);
    // By GRE: whatever is in it, its own packet is not told apart from others.
    assert.deepEqual(failing(none), ['fw_policy_open']);
  });
});
