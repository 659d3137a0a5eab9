import type { AuditEvent } from '../formats/audit.ts';
import type { Reference } from '../formats/reference.ts';

/** References as they are kept, each under its name. A resolved promise of a writing method means: on disk. */
export interface ReferenceStore {
  /** By name. */
  list(): Promise<readonly Reference[]>;
  /** @throws NotNow if the name exists; Rejection `too_large` where all together would be. */
  add(reference: Reference, audit: AuditEvent): Promise<void>;
  /** All of them or, where one cannot be added, none. @throws as `add` does */
  addAll(added: readonly { readonly reference: Reference; readonly audit: AuditEvent }[]): Promise<void>;
  /** @throws Error if there is none */
  remove(name: string, audit: AuditEvent): Promise<void>;
  /** Replaces the one of this name. @throws Error if there is none */
  update(reference: Reference, audit: AuditEvent): Promise<void>;
}
