import type { DeclaredFault } from '../formats/declared.ts';

/** Why a directory does not count; its message is the code, and a text that names the file. */
export class DirectoryFault extends Error {
  override readonly name = 'DirectoryFault';
  readonly code: DeclaredFault;

  constructor(code: DeclaredFault, text: string, cause?: unknown) {
    super(`${code}: ${text}`, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}
