"""A wire between two processes that a test can cut, throttle, delay and make lossy.

It listens on a port of the loopback and passes what comes to another. Loss on a TCP wire is a stall
followed by a break: that is what a process sees of it. All wires run on one thread of their own.
"""
import asyncio
import random
import socket
import threading


class Wires:
    """The thread that runs every wire."""

    def __init__(self, seed=1):
        self.random = random.Random(seed)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def add(self, target_port):
        wire = Wire(self, target_port)
        asyncio.run_coroutine_threadsafe(wire._open(), self.loop).result(5)
        return wire

    def stop(self):
        async def end():
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self.loop).result(5)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
        self.loop.close()


class Wire:
    def __init__(self, wires, target_port):
        self.wires, self.target_port = wires, target_port
        self.is_cut = False
        self.rate = None        # bytes a second, each way; None: as fast as it goes
        self.delay = 0.0        # seconds, each way
        self.break_every = None # mean bytes between breaks; None: never
        self.port = None
        self.writers = set()
        self.passed = 0

    async def _open(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=16384)
        self.port = self.server.sockets[0].getsockname()[1]

    def cut(self):
        """Breaks every connection and takes no new one."""
        self.is_cut = True
        self.wires.loop.call_soon_threadsafe(self._break)

    def restore(self):
        self.is_cut = False

    def _break(self):
        for writer in list(self.writers):
            writer.transport.abort()

    async def _serve(self, reader, writer):
        if self.is_cut:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port, limit=16384)
        except OSError:
            writer.transport.abort()
            return
        for each in (writer, far_writer):
            self.writers.add(each)
            if self.rate:  # a thin wire buffers little
                each.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
                each.transport.set_write_buffer_limits(high=4096)
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            for each in (writer, far_writer):
                self.writers.discard(each)
                each.transport.abort()

    async def _pump(self, reader, writer):
        while True:
            piece = await reader.read(min(4096, max(64, int(self.rate / 5))) if self.rate else 16384)
            if not piece:
                raise OSError("closed")
            if self.break_every and self.wires.random.random() < len(piece) / self.break_every:
                await asyncio.sleep(self.wires.random.random())
                raise OSError("lost")
            if self.delay:
                await asyncio.sleep(self.delay)
            if self.rate:
                await asyncio.sleep(len(piece) / self.rate)
            if self.is_cut:
                raise OSError("cut")
            self.passed += len(piece)
            writer.write(piece)
            await writer.drain()
