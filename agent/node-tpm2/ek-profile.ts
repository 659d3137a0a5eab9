/**
 * Where endorsement keys and their certificates are, and how the keys are made again: TCG EK Credential Profile
 * 2.5, 2.2.1.4 (handles and NV indices) and annex B (templates). Low range: PolicySecret(endorsement). High range:
 * userWithAuth, and PolicyOR(PolicySecret, PolicyAuthorizeNV).
 */
export interface EkProfile {
  readonly kind: 'rsa' | 'ecc';
  /** NV index of the certificate. */
  readonly certificate: number;
  /** Persistent handle, where a manufacturer keeps the key. */
  readonly handle: number;
  readonly range: 'low' | 'high';
  readonly nameAlg: 'sha256' | 'sha384' | 'sha512';
  /** As tpm2_createek (low range) or tpm2_createprimary (high range) take it. */
  readonly algorithm: string;
}

/** In order of preference. */
export const ekProfiles: readonly EkProfile[] = [
  profile('rsa', 0x02, 'low', 'sha256', 'rsa', 0x01),
  profile('ecc', 0x0a, 'low', 'sha256', 'ecc', 0x02),
  profile('rsa', 0x12, 'high', 'sha256', 'rsa2048:aes128cfb'),
  profile('ecc', 0x14, 'high', 'sha256', 'ecc256:aes128cfb'),
  profile('ecc', 0x16, 'high', 'sha384', 'ecc384:aes256cfb'),
  profile('ecc', 0x18, 'high', 'sha512', 'ecc521:aes256cfb'),
  profile('rsa', 0x1c, 'high', 'sha384', 'rsa3072:aes256cfb'),
  profile('rsa', 0x1e, 'high', 'sha384', 'rsa4096:aes256cfb'),
];

/** Certificates of the manufacturer's authorities, in ascending order: NV 0x01C00100 to 0x01C001FF. */
export const chainIndices = { first: 0x01c00100, last: 0x01c001ff } as const;

export const highRangeAttributes =
  'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|adminwithpolicy|restricted|decrypt';

function profile(
  kind: EkProfile['kind'],
  low: number,
  range: EkProfile['range'],
  nameAlg: EkProfile['nameAlg'],
  algorithm: string,
  handle: number = low,
): EkProfile {
  return { kind, certificate: 0x01c00000 + low, handle: 0x81010000 + handle, range, nameAlg, algorithm };
}

/**
 * PolicyA: PolicySecret(TPM_RH_ENDORSEMENT); PolicyC: PolicyAuthorizeNV of the profile's index; PolicyB, the keys'
 * authPolicy: H(zeros || TPM_CC_PolicyOR || A || C) (TPM 2.0 Part 3 r1.59, 23.6). In hex.
 */
export const highRangePolicies: Readonly<
  Record<EkProfile['nameAlg'], { readonly a: string; readonly b: string; readonly c: string }>
> = {
  sha256: {
    a: '837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa',
    b: 'ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0',
    c: '3767e2edd43ff45a3a7e1eaefcef78643dca964632e7aad82c673a30d8633fde',
  },
  sha384: {
    a: '8bbf2266537c171cb56e403c4dc1d4b64f432611dc386e6f532050c3278c930e143e8bb1133824ccb431053871c6db53',
    b: 'b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12',
    c: 'd6032ce61f2fb3c240eb3cf6a33237ef2b6a16f4293c22b455e261cffd217ad5b4947c2d73e63005eed2dc2b3593d165',
  },
  sha512: {
    a: '1e3b76502c8a1425aa0b7b3fc646a1b0fae063b03b5368f9c4cddecaff0891dd682bac1a85d4d832b781ea451915de5fc5bf0dc4a1917cd42fa041e3f998e0ee',
    b: 'b8221ca69e8550a4914de3faa6a18c072cc01208073a928d5d66d59ef79e49a429c41a6b269571d57edb25fbdb1838425608b413cd616a5f6db5b6071af99bea',
    c: '589ee1e146544716e8deafe6db247b01b81e9f9c7dd16b814aa159138749105fba5388dd1dea702f35240c184933121e2c61b8f50d3ef91393a49a38c3f73fc8',
  },
};
