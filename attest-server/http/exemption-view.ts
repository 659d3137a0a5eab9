import type { Exemption } from '../marking/ports.ts';
import type { ExemptionView } from '../protocol/cluster-api.ts';

export function exemptionView({ node, reason, by, at, until }: Exemption): ExemptionView {
  return { node, reason, by, at: momentOf(at), until: momentOf(until) };
}

export function momentOf(at: number): string {
  return new Date(at).toISOString();
}
