// Runs last: everything is defined.
charrnn.openPage();
