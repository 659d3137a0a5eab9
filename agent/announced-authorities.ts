import { X509Certificate } from 'node:crypto';
import pLimit from 'p-limit';
import { z } from 'zod';
import {
  type AnnouncedAuthority,
  authorityDigest,
  isAuthorityVouchedFor,
} from '../attest-server/wire/authority.ts';
import { AgentError } from './agent-error.ts';
import type { StateDir } from './state-dir.ts';

/** The authorities that may vouch for the server, as given and as announced since by the server itself. */
export interface TrustedAuthorities {
  /** PEM of them all. */
  readonly pem: string;
  /** Their digests, for `hello`. */
  readonly digests: readonly string[];
  /**
   * Takes an announcement that came over a connection to the server with this certificate. A new authority counts by
   * the word of the one that signed this certificate; one that is listed no more counts no longer.
   * @returns whether anything changed
   * @throws AgentError `server_identity` if nothing of it was taken; `state_dir`
   */
  learn(announced: readonly AnnouncedAuthority[], peer: X509Certificate): Promise<boolean>;
}

const digest = z.string().regex(/^[0-9a-f]{64}$/);
const shape = z.strictObject({
  /** Which of the given authorities all this descends from: without that one it counts for nothing. */
  anchor: digest,
  /** PEM, as the server last announced them. */
  authorities: z.array(z.string().max(4096)).min(1).max(2),
  /** Given or announced once, and announced no more. */
  retired: z.array(digest).max(16),
});
type KeptAuthorities = z.infer<typeof shape>;

/**
 * @param given what the operator's file holds, or the authority that the join token named
 * @throws AgentError `state_dir` if what was kept is damaged
 */
export async function openTrust(
  given: readonly X509Certificate[],
  state: StateDir,
): Promise<TrustedAuthorities> {
  const text = await state.read('authorities');
  let kept = text === null ? null : parseKept(text);
  // Another file, or a token of another authority, is another beginning.
  if (kept !== null && !given.some((each) => authorityDigest(each) === kept?.anchor)) kept = null;
  let trusted = allOf(given, kept);
  const inTurn = pLimit(1);

  const learn = async (announced: readonly AnnouncedAuthority[], peer: X509Certificate) => {
    const voucher = trusted.find((each) => isSignedBy(peer, each));
    if (voucher === undefined) throw refused('its sender is not vouched for');
    const shown = announced.map(({ certificate, signature }) => {
      const authority = parseAuthority(certificate);
      return { authority, signature, digest: authorityDigest(authority) };
    });
    const by = authorityDigest(voucher);
    // On a connection under an earlier authority nothing is dropped: first the server must have been seen under a later one.
    if (!shown.some((each) => each.digest === by)) return false;
    const known = new Set(trusted.map(authorityDigest));
    const accepted = shown.filter(
      (each) =>
        known.has(each.digest) ||
        (each.signature !== null && isAuthorityVouchedFor(each.authority, each.signature, voucher.publicKey)),
    );
    const listed = new Set(shown.map((each) => each.digest));
    const before = kept?.authorities.map((pem) => authorityDigest(new X509Certificate(pem))) ?? [];
    const retired = [...(kept?.retired ?? []), ...before].filter((each) => !listed.has(each));
    const next: KeptAuthorities = {
      anchor: given.some((each) => authorityDigest(each) === by) ? by : (kept?.anchor ?? by),
      authorities: accepted.map(({ authority }) => authority.toString()),
      retired: [...new Set(retired)].slice(-16),
    };
    if (JSON.stringify(next) === JSON.stringify(kept)) return false;
    await state.write('authorities', `${JSON.stringify(next)}\n`);
    kept = next;
    trusted = allOf(given, kept);
    return true;
  };

  return {
    get pem() {
      return trusted.map(String).join('');
    },
    get digests() {
      return trusted.map(authorityDigest).slice(0, 8);
    },
    learn: (announced, peer) => inTurn(() => learn(announced, peer)),
  };
}

/** The announced ones first. */
function allOf(given: readonly X509Certificate[], kept: KeptAuthorities | null): readonly X509Certificate[] {
  const byDigest = new Map<string, X509Certificate>();
  for (const pem of kept?.authorities ?? []) {
    const authority = new X509Certificate(pem);
    byDigest.set(authorityDigest(authority), authority);
  }
  for (const authority of given) {
    const name = authorityDigest(authority);
    if (!byDigest.has(name) && !kept?.retired.includes(name)) byDigest.set(name, authority);
  }
  return [...byDigest.values()];
}

function parseAuthority(pem: string): X509Certificate {
  if (!/^-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\r\n]+-----END CERTIFICATE-----\r?\n?$/.test(pem))
    throw refused('one of them is not one certificate in PEM');
  let authority: X509Certificate;
  try {
    authority = new X509Certificate(pem);
  } catch (cause) {
    throw refused('one of them cannot be read', cause);
  }
  if (!authority.ca || !isSignedBy(authority, authority))
    throw refused('one of them is not a self-signed authority');
  return authority;
}

function parseKept(text: string): KeptAuthorities {
  try {
    const kept = shape.parse(JSON.parse(text));
    for (const pem of kept.authorities) new X509Certificate(pem);
    return kept;
  } catch (cause) {
    throw new AgentError(
      'state_dir',
      'the file server-authorities.json, with the authorities of the server, is damaged: once you know why, remove it',
      { cause },
    );
  }
}

export function isSignedBy(certificate: X509Certificate, authority: X509Certificate): boolean {
  return certificate.checkIssued(authority) && certificate.verify(authority.publicKey);
}

function refused(why: string, cause?: unknown): AgentError {
  return new AgentError('server_identity', `an announcement of authorities was refused: ${why}`, {
    retryable: true,
    cause,
  });
}
