import { randomBytes } from 'node:crypto';

export interface User {
  readonly name: string;
  readonly uid?: string;
  readonly groups: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

/** May do everything: no rule is asked. */
export const administrator: User = {
  name: 'kubernetes-admin',
  groups: ['system:masters', 'system:authenticated'],
};

/** Whoever shows no credential. */
export const anonymous: User = { name: 'system:anonymous', groups: ['system:unauthenticated'] };

export function kubelet(node: string): User {
  return { name: `system:node:${node}`, groups: ['system:nodes', 'system:authenticated'] };
}

export function serviceAccount(namespace: string, name: string): User {
  return {
    name: `system:serviceaccount:${namespace}:${name}`,
    groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, 'system:authenticated'],
  };
}

export function operator(name: string, ...groups: readonly string[]): User {
  return { name, groups: [...groups, 'system:authenticated'] };
}

/** The node that this user is the kubelet of; null for anybody else. */
export function nodeOfKubelet({ name, groups }: User): string | null {
  const prefix = 'system:node:';
  return name.startsWith(prefix) && groups.includes('system:nodes') ? name.slice(prefix.length) : null;
}

/** Bearer tokens that were given out by hand, as a token file of the API server holds them. */
export class StaticTokens {
  readonly #byToken = new Map<string, User>();
  readonly #byName = new Map<string, string>();

  tokenOf(user: User): string {
    const known = this.#byName.get(user.name);
    if (known !== undefined) return known;
    const token = randomBytes(24).toString('hex');
    this.#byName.set(user.name, token);
    this.#byToken.set(token, user);
    return token;
  }

  userOf(token: string): User | null {
    return this.#byToken.get(token) ?? null;
  }
}
