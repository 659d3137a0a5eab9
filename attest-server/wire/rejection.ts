import { outsideText } from './printable.ts';
import type { ReasonCode } from './reasons.ts';

/**
 * Evidence or a message that is bad: the sender's fault, with a code from the closed list. A fault of ours
 * is any other exception, and never looks like bad evidence.
 */
export class Rejection extends Error {
  override readonly name = 'Rejection';
  readonly code: ReasonCode;
  /** Where in the input: the field's name, as its structure's document calls it. */
  readonly field: string | undefined;
  /** Advice for a person, if the code alone says too little; a line that begins with two blanks is a command. */
  readonly next: string | undefined;
  /** Byte offset of the fault, where the input is bytes. */
  readonly offset: number | undefined;

  constructor(
    code: ReasonCode,
    text: string,
    where: { field?: string; offset?: number; next?: string; cause?: unknown } = {},
  ) {
    // Whatever it repeats of the sender's words: it is written down.
    super(outsideText(text), where.cause === undefined ? undefined : { cause: where.cause });
    this.code = code;
    this.field = where.field === undefined ? undefined : outsideText(where.field);
    this.offset = where.offset;
    this.next = where.next;
  }
}
