import { z } from 'zod';

/** The server's authority, as the API shows it (`/v1/authority`). */
export const authorityView = z.object({
  /** `settled`: one; `announced`: the next one waits; `in_force`: it signs, the one before is not retired yet. */
  stage: z.enum(['settled', 'announced', 'in_force']),
  authorities: z.array(
    z.object({
      /** SHA-256 of its SubjectPublicKeyInfo, hex: what join tokens name. */
      digest: z.string(),
      state: z.enum(['in force', 'announced', 'previous']),
      expiresAt: z.iso.datetime(),
      /** PEM */
      certificate: z.string(),
    }),
  ),
  /** Enrolled ones. */
  nodes: z.int(),
  /** How many of them do not trust the newer authority, as far as the server knows. */
  untold: z.int(),
  /** Their names, at most 100. */
  waitingFor: z.array(z.string()),
});
export type AuthorityView = z.infer<typeof authorityView>;

export const finishRequest = z.strictObject({ force: z.boolean().default(false) });
