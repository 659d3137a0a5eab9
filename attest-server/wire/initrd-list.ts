import { type DigestLines, digestLines, parseDigestLines } from './digest-lines.ts';
import { limits } from './limits.ts';

/** Bytes with which a list of manifests begins. */
export const initrdListHead = 'assay/initrds/1\n';
const form: DigestLines = { head: initrdListHead, part: 'initrds', count: limits.initrd.count };

/** The part `initrds`: manifests of the initrds that were booted, by the SHA-256 of their packed bytes. */
export const initrdList = (digests: Iterable<string>): Buffer => digestLines(form, digests);

/** @throws Rejection `malformed`, `too_large` */
export const parseInitrdList = (bytes: Buffer): readonly string[] => parseDigestLines(form, bytes);
