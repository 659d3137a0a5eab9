/** The evidence of a node cannot become a reference; the message says why. */
export class CaptureError extends Error {
  override readonly name = 'CaptureError';
}
