import { LRUCache } from 'lru-cache';
import type { TpmClass } from '../formats/tpm-class.ts';
import { atMost } from '../wire/at-most.ts';
import { Rejection } from '../wire/rejection.ts';
import type { Endorsement } from './endorsement.ts';
import { checkEndorsementChain, type TrustRoots } from './endorsement-chain.ts';
import { tpmIdentityOf } from './tpm-identity.ts';
import type { Certificate } from './x509/certificate.ts';

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

/** A TPM, by the configured roots. */
export interface VouchedTpm {
  /** Why no root vouches for it; null if one does. */
  readonly notVouched: Rejection | null;
  /** SHA-256 of the root's certificate, hex. */
  readonly endorsedBy: string | null;
  /** Known only by a root's word: anybody can write a maker's name into a certificate. */
  readonly manufacturer: string | null;
  readonly tpmClass: TpmClass;
}

/** A certificate, by the roots of a moment. */
export interface EndorsementLookup {
  readonly vouched: VouchedTpm;
  /** Null if no root vouches for the certificate, or there is none. */
  readonly path: EndorsementPath | null;
}

/** Each with the certificates of its path, some KB. */
const remembered = 16_384;
/** A certificate for which nobody vouches may become valid. */
const againAfterMs = 3600_000;

/**
 * Who vouches for which endorsement certificate. Each is followed once: that takes up to 16 signatures, so ask only for
 * a peer that has proven its keys.
 */
export class EndorsementPaths {
  readonly #known = new LRUCache<string, { followed: EndorsementLookup; from: number; until: number }>(
    atMost(remembered),
  );
  readonly #checks: () => void;

  /** @param checks told of each signature that is checked */
  constructor(checks: () => void) {
    this.#checks = checks;
  }

  /** @param at milliseconds since the epoch */
  follow(endorsement: CertificateChain, trust: TrustRoots, at: number): EndorsementLookup {
    const { certificate, chain } = endorsement;
    if (certificate === null) return { vouched: withoutCertificate, path: null };
    const key = [trust.digest, certificate.digest, ...chain.map(({ digest }) => digest)].join(' ');
    const known = this.#known.get(key);
    if (known !== undefined && at >= known.from && at <= known.until) return known.followed;
    const followed = this.#check(certificate, chain, trust, at);
    const until = followed.path?.until ?? at + againAfterMs;
    this.#known.set(key, { followed, from: at, until });
    return followed;
  }

  #check(
    certificate: Certificate,
    chain: readonly Certificate[],
    trust: TrustRoots,
    at: number,
  ): EndorsementLookup {
    const { manufacturer, tpmClass } = tpmIdentityOf(certificate);
    try {
      const path = checkEndorsementChain(certificate, chain, trust, at, this.#checks);
      const [below, root] = [path.slice(0, -1), path.at(-1)];
      return {
        vouched: { notVouched: null, endorsedBy: root?.digest ?? null, manufacturer, tpmClass },
        path: {
          certificate: certificate.x509.raw,
          chain: below.slice(1).map(({ x509 }) => x509.raw),
          root: root?.x509.toString() ?? '',
          until: Math.min(...below.map(({ notAfter }) => notAfter)),
        },
      };
    } catch (error) {
      if (!(error instanceof Rejection)) throw error;
      // A certificate that belittles its own TPM is believed.
      const believed = tpmClass === 'virtual' ? 'virtual' : 'unknown';
      return { vouched: { ...unvouched(error), tpmClass: believed }, path: null };
    }
  }
}

type CertificateChain = Pick<Endorsement, 'certificate' | 'chain'>;

function unvouched(notVouched: Rejection): VouchedTpm {
  return { notVouched, endorsedBy: null, manufacturer: null, tpmClass: 'unknown' };
}

const withoutCertificate = unvouched(
  new Rejection(
    'enrolment_pending',
    'an endorsement key without certificate enrols by a pin or an approval only',
  ),
);
