mod network;
mod normal_case;
mod random;
mod view_change;
