import { armor, Encrypter } from 'age-encryption';

/** Encrypts a secret to age recipients (policy), each of whom can read it alone. */
export async function sealForRecovery(secret: Buffer, recipients: readonly string[]): Promise<Buffer> {
  const encrypter = new Encrypter();
  for (const recipient of recipients) encrypter.addRecipient(recipient);
  return Buffer.from(await encrypter.encrypt(secret));
}

/** The same as text, which `age --decrypt` takes, too. */
export function armoured(encrypted: Buffer): string {
  return armor.encode(encrypted);
}
