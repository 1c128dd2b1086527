/** Device configuration, byte offsets. VIRTIO 1.3, 5.1.4 */
export const NetConfigOffset = { MAC: 0, STATUS: 6, MAX_QUEUE_PAIRS: 8, MTU: 10, SPEED: 12, DUPLEX: 16 } as const;
