import { LRUCache } from 'lru-cache';
import { Rejection } from '../protocol/rejection.ts';
import type { TpmClass } from '../protocol/tpm-class.ts';
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

/** What the configured roots say about a TPM. */
export interface VouchedTpm {
  /** Why no root vouches for it; null where one does. */
  readonly notVouched: Rejection | null;
  /** SHA-256 of the root's certificate, hex. */
  readonly endorsedBy: string | null;
  /** Known only by a root's word: anybody can write a maker's name into a certificate. */
  readonly manufacturer: string | null;
  readonly tpmClass: TpmClass;
}

/** A path is a few certificates that are held elsewhere, too. */
const remembered = 16_384;
/** A certificate for which nobody vouches may become valid. */
const againAfterMs = 3600_000;

interface Followed {
  readonly path: readonly Certificate[] | Rejection;
  readonly from: number;
  readonly until: number;
}

/**
 * Who vouches for which endorsement certificate, by the roots of the moment. Each is followed once: that takes up to
 * 16 signatures, so ask only for a peer that has proven its keys.
 */
export class EndorsementPaths {
  readonly #followed = new LRUCache<string, Followed>({ max: remembered });
  readonly #checks: () => void;

  /** @param checks told of each signature that is checked */
  constructor(checks: () => void) {
    this.#checks = checks;
  }

  /** Null where no root vouches for the certificate at that moment, or there is none. */
  path({ certificate, chain }: Chained, trust: TrustRoots, at: number): EndorsementPath | null {
    if (certificate === null) return null;
    const path = this.#follow(certificate, chain, trust, at);
    if (path instanceof Rejection) return null;
    const [below, root] = [path.slice(0, -1), path.at(-1)];
    if (root === undefined) return null;
    return {
      certificate: certificate.x509.raw,
      chain: below.slice(1).map(({ x509 }) => x509.raw),
      root: root.x509.toString(),
      until: endOf(below),
    };
  }

  /** Judges an endorsement by the roots. @throws Rejection `malformed` */
  vouched({ certificate, chain }: Chained, trust: TrustRoots, at: number): VouchedTpm {
    if (certificate === null)
      return unvouched(
        new Rejection(
          'enrolment_pending',
          'an endorsement key without certificate enrols by a pin or an approval only',
        ),
      );
    const { manufacturer, tpmClass } = tpmIdentityOf(certificate);
    const path = this.#follow(certificate, chain, trust, at);
    if (!(path instanceof Rejection))
      return { notVouched: null, endorsedBy: path.at(-1)?.digest ?? null, manufacturer, tpmClass };
    if (path.code !== 'ek_untrusted_root') throw path;
    // A certificate that belittles its own TPM is believed.
    return { ...unvouched(path), tpmClass: tpmClass === 'virtual' ? 'virtual' : 'unknown' };
  }

  #follow(certificate: Certificate, chain: readonly Certificate[], trust: TrustRoots, at: number) {
    const key = [trust.digest, certificate.digest, ...chain.map(({ digest }) => digest)].join(' ');
    const before = this.#followed.get(key);
    if (before !== undefined && at >= before.from && at <= before.until) return before.path;
    const path = this.#check(certificate, chain, trust, at);
    const until = path instanceof Rejection ? at + againAfterMs : endOf(path.slice(0, -1));
    this.#followed.set(key, { path, from: at, until });
    return path;
  }

  #check(certificate: Certificate, chain: readonly Certificate[], trust: TrustRoots, at: number) {
    try {
      return checkEndorsementChain(certificate, chain, trust, at, this.#checks);
    } catch (error) {
      if (error instanceof Rejection) return error;
      throw error;
    }
  }
}

type Chained = Pick<Endorsement, 'certificate' | 'chain'>;

function endOf(below: readonly Certificate[]): number {
  return Math.min(...below.map(({ notAfter }) => notAfter));
}

function unvouched(notVouched: Rejection): VouchedTpm {
  return { notVouched, endorsedBy: null, manufacturer: null, tpmClass: 'unknown' };
}
