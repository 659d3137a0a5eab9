import { resolve } from 'node:path';
import { armor, Decrypter, identityToRecipient } from 'age-encryption';
import { shellWord } from '../../../wire/advice.ts';
import { printable } from '../../../wire/printable.ts';
import type { CliContext } from '../../context.ts';
import { CliError } from '../../exit.ts';
import { readFile, readInput } from '../../read-file.ts';
import { writeSecret } from '../../write-file.ts';

export interface RecoverOptions {
  readonly identity: readonly string[];
  readonly file?: string;
}

/** `disk recover FILE --identity FILE`: what `disk escrow` wrote, decrypted as `age --decrypt` does. */
export async function recover(
  { io }: CliContext,
  given: string,
  { identity: files, file }: RecoverOptions,
): Promise<void> {
  const decrypter = new Decrypter();
  const recipients: string[] = [];
  for (const name of files)
    for (const identity of identitiesIn(name, readFile(resolve(io.cwd, name)).toString('latin1')))
      try {
        decrypter.addIdentity(identity);
        recipients.push(await identityToRecipient(identity));
      } catch {
        // Without the cause: its text has the identity.
        throw new CliError(`${printable(name)} has an identity that age does not take`);
      }
  const found = await decrypted(decrypter, await readInput(io, given), given, recipients);
  if (file !== undefined) return writeSecret(resolve(io.cwd, file), found);
  const text = found.toString('latin1');
  // Attack: whoever knows the recipients can encrypt what a terminal would obey.
  if (!/^[\x20-\x7e]*$/.test(text))
    throw new CliError(
      `${printable(given)} holds what is no text, such as the header of a volume`,
      `Name a file for it. If it is the header, write it back onto the disk of which it is, as root:\n  assay disk recover ${shellWord(given)} ${files.map((name) => `--identity ${shellWord(name)}`).join(' ')} -f header.img\n  cryptsetup luksHeaderRestore DEVICE --header-backup-file header.img`,
    );
  io.out(`${text}\n`);
}

/** @throws CliError if there is none */
function identitiesIn(name: string, text: string): readonly string[] {
  const lines = text.split('\n').map((line) => line.trim());
  const found = lines.filter((line) => /^AGE-SECRET-KEY-/.test(line));
  if (found.length > 0) return found;
  throw new CliError(
    `${printable(name)} has no identity of age, which begins with AGE-SECRET-KEY-`,
    /^(age-encryption\.org|-----BEGIN AGE)/.test(text)
      ? `It is encrypted itself. Decrypt it first:\n  age --decrypt -o identity.txt ${shellWord(name)}`
      : 'Name the file that age-keygen wrote, whose recipient is among keys.recoveryRecipients of the policy.',
  );
}

/** @throws CliError */
async function decrypted(
  decrypter: Decrypter,
  content: Buffer,
  given: string,
  recipients: readonly string[],
): Promise<Buffer> {
  const text = content.toString('latin1');
  try {
    const bytes = text.startsWith('-----BEGIN AGE') ? armor.decode(text.trim()) : content;
    return Buffer.from(await decrypter.decrypt(bytes));
  } catch (cause) {
    if (cause instanceof Error && /no identity matched/.test(cause.message))
      throw new CliError(
        `no identity that is named opens ${printable(given)}: it is encrypted to other recipients than ${recipients.join(', ')}`,
        'It is of another installation, or of a time when the policy named others, and does not say which. The server does, in the column RECOVERY. Name the file of one of those with --identity:\n  assay disk list -o wide',
        undefined,
        cause,
      );
    throw new CliError(
      `${printable(given)} cannot be decrypted: it is damaged, or nothing that assay disk escrow wrote`,
      null,
      undefined,
      cause,
    );
  }
}
