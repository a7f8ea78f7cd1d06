"""The appointment desk's tools, as the conversation is offered them."""

from datetime import date, time

from app.conversation.tools import CallContext, Tool, ToolSetup, tool
from app.demo.appointments import Answer, AppointmentBook
from providers.llm.dialogue import DEMO, load


def create_tools(setup: ToolSetup) -> tuple[Tool, ...]:
    """Tools that keep the book in the process's state folder, by the opening hours of the demo dialogue."""
    setup.state_dir.mkdir(parents=True, exist_ok=True)
    book = AppointmentBook(setup.state_dir / "appointments.sqlite", load(DEMO).hours, setup.clock)

    async def find_appointment(call: CallContext) -> Answer:
        return await book.find_appointment(call.caller)

    async def free_times(day: date) -> Answer:
        return await book.free_times(day)

    async def book_appointment(call: CallContext, day: date, time: time) -> Answer:
        return await book.book_appointment(call.caller, day, time)

    async def move_appointment(call: CallContext, day: date, time: time) -> Answer:
        return await book.move_appointment(call.caller, day, time)

    async def cancel_appointment(call: CallContext) -> Answer:
        return await book.cancel_appointment(call.caller)

    functions = (find_appointment, free_times, book_appointment, move_appointment, cancel_appointment)
    for function in functions:
        function.__doc__ = getattr(AppointmentBook, function.__name__).__doc__
    return tuple(tool(function) for function in functions)
