export interface PolicyFault {
  /** Counts from 1. */
  readonly line: number;
  /** Dotted, as in `groups.0.require`; `policy` for the file as a whole. */
  readonly field: string;
  readonly text: string;
}

/** A fault, or a warning, at a path of the document; its line is not known yet. */
export interface LocatedFault {
  readonly path: readonly PropertyKey[];
  readonly text: string;
}

/**
 * Why a policy that is well written does not come into force. `latched`: it asks for less than a latched cluster may be
 * asked for. `untrusts_many`: it takes the trust of more nodes than a change may.
 */
export type RefusedFor = 'latched' | 'untrusts_many';

/** A policy file that cannot be used, with all of its faults, in the order of their lines. */
export class PolicyError extends Error {
  override readonly name = 'PolicyError';
  readonly file: string;
  readonly faults: readonly PolicyFault[];
  readonly code: RefusedFor | null;

  constructor(file: string, faults: readonly PolicyFault[], code: RefusedFor | null = null) {
    super(faults.map(({ line, field, text }) => `${file}:${line}: ${field}: ${text}`).join('\n'));
    this.file = file;
    this.faults = faults;
    this.code = code;
  }
}
