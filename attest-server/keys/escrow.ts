import { Encrypter } from 'age-encryption';

/** Encrypts a secret to age recipients (policy), each of whom can read it alone. */
export async function sealForRecovery(secret: Buffer, recipients: readonly string[]): Promise<Buffer> {
  const encrypter = new Encrypter();
  for (const recipient of recipients) encrypter.addRecipient(recipient);
  return Buffer.from(await encrypter.encrypt(secret));
}
