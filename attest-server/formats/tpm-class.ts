/** The kinds of TPM: a chip, a part of the processor's firmware, a program of the hypervisor. */
export const tpmClasses = ['discrete', 'firmware', 'virtual', 'unknown'] as const;
export type TpmClass = (typeof tpmClasses)[number];
