/** Whose boots are judged, and when. */
export const node = { name: 'worker-1' };
export const at = Date.UTC(2026, 0, 1);

/** Of its reference. */
export const captured = {
  name: 'bench',
  group: 'default',
  state: 'active',
  by: 'bench',
  node: node.name,
  at,
} as const;
