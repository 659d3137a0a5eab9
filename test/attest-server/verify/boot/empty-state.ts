import type { BootState } from '../../../../attest-server/verify/boot/boot-state.ts';

/** A boot of which nothing is known. */
export const emptyState: BootState = {
  components: [],
  secureBoot: {
    enabled: null,
    event: null,
    databases: [],
    authorities: [],
    machineOwner: [],
    sbatLevel: null,
    sbatEvents: [],
    validationOff: false,
  },
  commandLines: [],
  firmwareVersion: null,
  problems: [],
};
