import { resolve } from 'node:path';
import { armor, Decrypter } from 'age-encryption';
import { shellWord } from '../../../wire/advice.ts';
import { printable } from '../../../wire/printable.ts';
import type { CliContext } from '../../context.ts';
import { CliError } from '../../exit.ts';
import { readFile, readInput } from '../../read-file.ts';
import { writeFile } from '../../write-file.ts';

export interface RecoverOptions {
  readonly identity: readonly string[];
  readonly file?: string;
}

/** How a LUKS header begins; a passphrase is text. */
const luksMagic = 'LUKS\xba\xbe';

/** `disk recover FILE --identity FILE`: what `disk escrow` wrote, decrypted as `age --decrypt` does. */
export async function recover(
  { io }: CliContext,
  given: string,
  { identity: files, file }: RecoverOptions,
): Promise<void> {
  const decrypter = new Decrypter();
  for (const name of files)
    for (const identity of identitiesIn(name, readFile(resolve(io.cwd, name)).toString('latin1')))
      try {
        decrypter.addIdentity(identity);
      } catch (cause) {
        throw new CliError(
          `${printable(name)} has an identity that age does not take`,
          null,
          undefined,
          cause,
        );
      }
  const found = await decrypted(decrypter, await readInput(io, given), given, files);
  if (file !== undefined) return writeFile(resolve(io.cwd, file), found);
  if (found.toString('latin1', 0, luksMagic.length) === luksMagic)
    throw new CliError(
      `${printable(given)} holds the header of a volume, which is no text`,
      `Name a file for it, and write it back onto the disk of which it is, as root:\n  assay disk recover ${shellWord(given)} ${files.map((name) => `--identity ${shellWord(name)}`).join(' ')} -f header.img\n  cryptsetup luksHeaderRestore DEVICE --header-backup-file header.img`,
    );
  io.out(`${found.toString('latin1')}\n`);
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
  files: readonly string[],
): Promise<Buffer> {
  const text = content.toString('latin1');
  try {
    const bytes = text.startsWith('-----BEGIN AGE') ? armor.decode(text.trim()) : content;
    return Buffer.from(await decrypter.decrypt(bytes));
  } catch (cause) {
    if (cause instanceof Error && /no identity matched/.test(cause.message))
      throw new CliError(
        `no identity in ${files.map(printable).join(', ')} opens ${printable(given)}: it is encrypted to other recipients`,
        'It is of another installation, or of a time when the policy named others. Name one more file with --identity, or have the volume’s escrow written again:\n  assay disk list',
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
