/**
 * TLS as every listener of the server speaks it. A client chooses what the handshake costs, and has proven nothing
 * then: on P-384 or P-521 it would be three to five times as much. `?` stands before what an OpenSSL in FIPS mode lacks.
 */
export const tlsOfListeners = { minVersion: 'TLSv1.3', ecdhCurve: '?X25519MLKEM768:?X25519:P-256' } as const;
