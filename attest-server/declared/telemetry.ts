import type { Figures } from '../telemetry/figures.ts';
import type { DeclaredParts } from './open.ts';

export function declaredReport(figures: Figures): Pick<DeclaredParts, 'inForce'> {
  const serials = figures.gauge(
    'declared_serial',
    'Serial of the signed directory that is in force; 0: none',
  );
  return { inForce: (serial) => serials.set(serial) };
}
