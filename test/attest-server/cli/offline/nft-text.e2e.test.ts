import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { withNftJson } from '../../../../attest-server/cli/offline/nft-text.ts';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import { firewallPartOfFolder } from '../../../recorded/firewall-folder.ts';
import { judged, partWith, recordedNode, referenceOf } from '../../policy/firewall/made-firewall.ts';

const written = `
table inet worker { # what a person writes
  set good { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 }; }
  chain input {
    type filter hook input priority filter; policy drop;
    ct state { established, related } accept
    ip saddr @good tcp dport { 22, 80 } accept comment "no; door"
  }
}`;
const referenceWith = (nft: string): Reference => {
  const { captured: _, ...bare } = referenceOf(partWith({}));
  return { ...bare, firewall: { nft } };
};

describe('a baseline in the words of nft', () => {
  it('is the same as the rules that the kernel then has', async () => {
    const own = await run('ip', ['-j', 'link'], { timeoutMs: 5_000, maxOutputBytes: 1 << 20 });
    const reference = await withNftJson(referenceWith(written), 'workers.yaml');
    const { firewall } = reference;
    assert.ok(firewall !== undefined && 'nft' in firewall && firewall.nft !== undefined);
    const part = partWith({ nft: JSON.parse(firewall.nft).nftables });
    assert.equal(judged(part, [reference]).state, 'trusted');
    assert.equal(judged(partWith({}), [reference]).state, 'untrusted');
    // Nothing of it was done to this machine.
    const now = await run('ip', ['-j', 'link'], { timeoutMs: 5_000, maxOutputBytes: 1 << 20 });
    assert.deepEqual(now.stdout, own.stdout);
  });

  it('stays as it is in any other words', async () => {
    const part = await firewallPartOfFolder(recordedNode('fw-05-worker-nft'));
    for (const one of [
      referenceOf(part),
      referenceWith(JSON.stringify({ nftables: part.nft })),
      { ...referenceWith(''), firewall: { 'iptables-save': '*filter\nCOMMIT\n' } },
    ])
      assert.equal(await withNftJson(one, 'x.json'), one);
  });

  for (const [what, text, said] of [
    ['no words of nft', 'table inet x { chain }', /line 1:22-22: Error: syntax error/],
    ['another file', 'table inet x { }; include "/etc/passwd"', /^Write all rules into/],
    ['another file, over two lines', 'include \\\n  "/etc/shadow"', /^Write all rules into/],
    [
      'another file, behind a line',
      'define x = 1 \\\n\n;include\\\n\\\n"/etc/shadow"',
      /^Write all rules into/,
    ],
    [
      'a list that is named so often that nft has no room for it',
      `define p = { ${Array.from({ length: 10_000 }, (_, port) => 2 * port + 1).join()} }
table inet x {
  chain y {
${'    tcp dport $p accept\n'.repeat(2_000)}
  }
}`,
      /[Mm]emory/,
    ],
    ['another file, on a line of its own', 'include "/etc/passwd"', /^Write all rules into/],
  ] as const)
    it(`is refused where it has ${what}, with the place`, async () => {
      await assert.rejects(
        withNftJson(referenceWith(text), 'workers.yaml'),
        (error: Error & { hint?: string }) => {
          assert.match(error.message, /^workers\.yaml: /);
          assert.match(error.hint ?? '', said);
          return true;
        },
      );
    });

  it('needs nft, and says so', async () => {
    await assert.rejects(withNftJson(referenceWith(written), 'workers.yaml', 'no-such-nft'), {
      message: 'workers.yaml: the rules are in the words of nft, and nft is not installed here',
    });
  });
});
