import type { Pin } from '../enrolment/ports.ts';
import type { AuditEvent } from '../formats/audit.ts';
import type { Reference } from '../formats/reference.ts';

/** Which directory is in force. */
export interface DirectoryInForce {
  readonly serial: number;
  /** SHA-256 of its manifest, hex. */
  readonly digest: string;
  /** Name of the key that signed it. */
  readonly key: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** Text of its policy; null if it has none. */
  readonly policy: string | null;
}

/** The change of a reference by a directory, as `audit` records it. */
export interface ReferenceChange {
  readonly reference: Reference;
  readonly audit: AuditEvent;
}

export interface DeclaredStore {
  /** Null if none ever was. */
  read(): Promise<DirectoryInForce | null>;
  /** Whether its list of pins said last that this name has another key, or this key another name, used up or not. */
  hasOtherPin(pin: Pin): Promise<boolean>;
  /**
   * All of it, or nothing: references by their names, what became of the pins, and which directory that was.
   * @throws Rejection `too_large` if all references together would be
   */
  apply(change: {
    readonly directory: DirectoryInForce;
    readonly references: readonly ReferenceChange[];
    readonly pins: readonly Pin[];
    readonly audit: AuditEvent;
  }): Promise<void>;
}
