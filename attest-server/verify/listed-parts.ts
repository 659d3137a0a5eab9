import type { Parts } from '../wire/evidence.ts';
import type { FileSet } from './boot/loader-files.ts';
import { checkFiles } from './listed-files.ts';
import { checkInitrds, initrdsAtOnce } from './listed-initrds.ts';
import type { Memory } from './memory.ts';
import type { ReadInitrd } from './read-initrd.ts';

/** The things that parts list, as far as they are known, each under the digest of its own bytes. */
export interface ListedParts {
  readonly loaderFiles: FileSet;
  readonly initrds: readonly ReadInitrd[];
}

/** The inputs that a list is checked by. */
export interface ListCheck {
  readonly parts: Parts;
  /** The bytes that they list, by SHA-256, hex; what is remembered need not be here. */
  readonly given: ReadonlyMap<string, Buffer>;
  readonly memory: Memory | null;
  /** Whether a digest of SHA-256 alone does not tell which file it is. */
  readonly inAllBanks: boolean;
}

/** In steps of some milliseconds. @throws Rejection as each of them */
export function* checkListed(check: ListCheck): Generator<void, ListedParts> {
  const { parts, given, memory } = check;
  return listedWith(check, yield* checkInitrds(parts.initrds, given, memory));
}

/** `checkListed` without steps; null if something may take long. @throws Rejection as `checkListed` */
export function listedAtOnce(check: ListCheck): ListedParts | null {
  const initrds = initrdsAtOnce(check.parts.initrds, check.memory);
  return initrds === null ? null : listedWith(check, initrds);
}

function listedWith(check: ListCheck, initrds: readonly ReadInitrd[]): ListedParts {
  const { parts, given, memory, inAllBanks } = check;
  return {
    loaderFiles: checkFiles(parts.loaderFiles, given, memory, inAllBanks),
    initrds,
  };
}
