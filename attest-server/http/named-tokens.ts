import { hash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { ApiToken, NamedTokens, TokenStore } from './ports.ts';
import { roles } from './roles.ts';

/** The two files' tokens have these names in the audit log. */
const reserved: readonly string[] = ['admin', 'reader'];

/** `assay.<id>.<secret>`: found by the id, proven by the secret. */
const form = /^Bearer assay\.([A-Za-z0-9_-]{12})\.([A-Za-z0-9_-]{43})$/i;
/** Hash that stands in for an unknown id, so that comparing takes as long as for a known one. */
const nobody = sha256('');

export function createNamedTokens(store: TokenStore, now: () => number): NamedTokens {
  return {
    async authenticate(authorization) {
      const [, id, secret] = form.exec(authorization ?? '') ?? [];
      if (id === undefined || secret === undefined) return null;
      const token = await store.find(id);
      const same = timingSafeEqual(sha256(secret), stored(token));
      const role = roles.find((each) => each === token?.role);
      if (token === null || !same || role === undefined || role === 'none') return null;
      if (token.expiresAt !== null && now() >= token.expiresAt)
        return { token: token.name, role, expiredAt: token.expiresAt };
      return { name: `token:${token.name}`, role, expiresAt: token.expiresAt };
    },

    async create({ name, role, ttlMs, actor }) {
      if (reserved.includes(name)) return null;
      const id = randomBytes(9).toString('base64url');
      const secret = randomBytes(32).toString('base64url');
      const at = now();
      const expiresAt = ttlMs === null ? null : at + ttlMs;
      const secretHash = sha256(secret).toString('hex');
      const added = await store.add(
        { id, name, role, secretHash, createdBy: actor, createdAt: at, expiresAt },
        { at, actor, action: 'token.create', subject: name, code: null, detail: { id, role, expiresAt } },
      );
      return added ? { text: `assay.${id}.${secret}`, expiresAt } : null;
    },

    list: () => store.list(),

    revoke: (name, actor) =>
      store.remove(name, {
        at: now(),
        actor,
        action: 'token.revoke',
        subject: name,
        code: null,
        detail: {},
      }),
  };
}

function stored(token: ApiToken | null): Buffer {
  const digest = Buffer.from(token?.secretHash ?? '', 'hex');
  return digest.length === nobody.length ? digest : nobody;
}

function sha256(text: string): Buffer {
  return hash('sha256', text, 'buffer');
}
