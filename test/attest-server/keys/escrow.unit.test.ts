import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { Decrypter, generateIdentity, identityToRecipient } from 'age-encryption';
import { describe, it } from 'mocha';
import { sealForRecovery } from '../../../attest-server/keys/escrow.ts';

describe('what is encrypted for recovery', () => {
  it('is read by age and each recipient alone, however long it is', async () => {
    const identities = await Promise.all([generateIdentity(), generateIdentity()]);
    const recipients = await Promise.all(identities.map(identityToRecipient));
    for (const length of [0, 1, 47, 65_535, 65_536, 65_537, 131_072, 2_097_152]) {
      const secret = randomBytes(length);
      const sealed = await sealForRecovery(secret, recipients);
      for (const identity of identities) {
        const decrypter = new Decrypter();
        decrypter.addIdentity(identity);
        assert.deepEqual(Buffer.from(await decrypter.decrypt(sealed)), secret, String(length));
      }
    }
  });
});
