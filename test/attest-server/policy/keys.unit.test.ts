import assert from 'node:assert/strict';
import { Encrypter, generateHybridIdentity, generateIdentity, identityToRecipient } from 'age-encryption';
import { before, describe, it } from 'mocha';
import { parsePolicy } from '../../../attest-server/policy/file/policy-file.ts';
import { isNetwork, isRecipient, isWithin } from '../../../attest-server/policy/keys.ts';

describe('the rules of disk keys in a policy', () => {
  let recipient: string;
  before(async () => {
    recipient = await identityToRecipient(await generateIdentity());
  });
  const keysOf = (keys: string) =>
    parsePolicy(
      `apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n  - {name: workers, nodes: ["*"], keys: ${keys}}\n`,
      'policy.yaml',
    ).groups[0]?.keys;

  it('are strict where nothing else is said', () => {
    assert.deepEqual(keysOf(`{recoveryRecipients: [${recipient}]}`), {
      recoveryRecipients: [recipient],
      from: null,
      allowUnmeasuredRoot: false,
    });
  });

  for (const [what, keys] of [
    ['nobody who could recover a volume', '{recoveryRecipients: []}'],
    ['no recipients', '{}'],
    ['no network', '{recoveryRecipients: [RECIPIENT], from: []}'],
    ['an address in place of a network', '{recoveryRecipients: [RECIPIENT], from: [10.0.0.1]}'],
    ['a recipient that was mistyped', '{recoveryRecipients: [MISTYPED]}'],
    ['a key that it does not know', '{recoveryRecipients: [RECIPIENT], format: never}'],
  ] as const)
    it(`are refused with ${what}`, () => {
      const mistyped = recipient.replace(/.$/, (last) => (last === 'q' ? 'p' : 'q'));
      const text = keys.replace('RECIPIENT', recipient).replace('MISTYPED', mistyped);
      assert.throws(() => keysOf(text), { name: 'PolicyError' });
    });

  it('take the recipients that age takes, of the one kind that every age program has', async () => {
    const hybrid = await identityToRecipient(await generateHybridIdentity());
    assert.ok(isRecipient(recipient) && !isRecipient(hybrid));
    new Encrypter().addRecipient(recipient);
    for (const changed of [
      recipient.toUpperCase(),
      recipient.slice(0, -1),
      `${recipient}q`,
      recipient.replace('age1', 'ago1'),
      await generateIdentity(),
      'ssh-ed25519 AAAA',
      '',
    ])
      assert.ok(!isRecipient(changed), changed);
  });

  it('know networks of both families, and no other text', () => {
    for (const network of ['10.0.0.0/8', '0.0.0.0/0', '192.0.2.7/32', 'fd00::/8', '::/0', '2001:db8::1/128'])
      assert.ok(isNetwork(network), network);
    for (const text of [
      '10.0.0.0',
      '10.0.0.0/33',
      '10.0.0.0/08',
      '10.0.0/8',
      'fd00::/129',
      '/8',
      '10.0.0.0/8/8',
      'a/8',
    ])
      assert.ok(!isNetwork(text), text);
  });

  for (const [address, from, isInside] of [
    ['10.1.2.3', ['10.0.0.0/8'], true],
    ['11.1.2.3', ['10.0.0.0/8'], false],
    ['::ffff:10.1.2.3', ['10.0.0.0/8'], true],
    ['fd00::1', ['10.0.0.0/8', 'fd00::/8'], true],
    ['fe80::1', ['fd00::/8'], false],
    ['10.1.2.3', ['::/0'], true],
    ['not an address', ['0.0.0.0/0', '::/0'], false],
  ] as const)
    it(`${isInside ? 'let' : 'do not let'} ${address} ask where ${from.join(', ')} may`, () => {
      assert.equal(isWithin(address, from), isInside);
    });
});
