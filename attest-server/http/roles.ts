/** Roles of a caller; each may do all that those before it may. `none` asks for no credentials. */
export const roles = ['none', 'reader', 'operator', 'admin'] as const;
export type ApiRole = (typeof roles)[number];

/** Verbs that a cluster grants on its virtual resource `attestations.assay.dev`. */
export const verbOf: Readonly<Record<Exclude<ApiRole, 'none'>, string>> = {
  reader: 'read',
  operator: 'operate',
  admin: 'administer',
};

export interface Caller {
  /** As the audit log names it: `token:admin`, `kubernetes:alice`. */
  readonly name: string;
  readonly role: ApiRole;
  /** Milliseconds since the epoch; null: until the token is revoked. */
  readonly expiresAt: number | null;
}

export function allows(held: ApiRole, needed: ApiRole): boolean {
  return roles.indexOf(held) >= roles.indexOf(needed);
}
