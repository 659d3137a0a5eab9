import { Rejection } from '../protocol/rejection.ts';
import type { Endorsement } from './endorsement.ts';
import { checkEndorsementChain, type TrustRoots } from './endorsement-chain.ts';

/** How a root vouches for an endorsement certificate: what travels with evidence, so that others can follow it. */
export interface EndorsementPath {
  /** The certificate that it leads from, DER. */
  readonly certificate: Buffer;
  /** The authorities between it and the root, its issuer first, DER. */
  readonly chain: readonly Buffer[];
  /** PEM */
  readonly root: string;
  /** The last moment at which everything below the root is valid, milliseconds since the epoch. */
  readonly until: number;
}

/** Null where no root vouches for the certificate at that moment, or there is none. */
export function endorsementPath(
  { certificate, chain }: Pick<Endorsement, 'certificate' | 'chain'>,
  trust: TrustRoots,
  at: number,
): EndorsementPath | null {
  if (certificate === null) return null;
  try {
    const path = checkEndorsementChain(certificate, chain, trust, at);
    const [below, root] = [path.slice(0, -1), path.at(-1)];
    if (root === undefined) return null;
    return {
      certificate: certificate.x509.raw,
      chain: below.slice(1).map(({ x509 }) => x509.raw),
      root: root.x509.toString(),
      until: Math.min(...below.map(({ notAfter }) => notAfter)),
    };
  } catch (error) {
    if (error instanceof Rejection) return null;
    throw error;
  }
}
